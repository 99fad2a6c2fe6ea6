"""The worker: checks a version out, trains the inner problem, and commits a hypergradient by its deadline."""
