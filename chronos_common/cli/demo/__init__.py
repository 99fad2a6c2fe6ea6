"""The demo: data hyper-cleaning on scikit-learn's digits, with a coordinator and workers of its own."""
