"""A cluster of uneven workers on a simulated clock, decided by the real engine; shared by ``prediction_cluster``."""
