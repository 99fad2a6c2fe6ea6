"""Parts of the benchmark of data scheduling: sizes, other ways to divide them, and what is measured."""
