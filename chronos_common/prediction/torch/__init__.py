"""The part of prediction that needs torch: counting modules on meta tensors, and the models that the data names."""
