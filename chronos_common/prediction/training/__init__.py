"""Trains the predictor from measured rows; needs the extra ``training`` (LightGBM, scikit-learn), unlike asking it."""
