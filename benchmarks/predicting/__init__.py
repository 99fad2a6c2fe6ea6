"""What the benchmark of the predictor is made of: splits, the published method, checks of the shipped artefact."""
