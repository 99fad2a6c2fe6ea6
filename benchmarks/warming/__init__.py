"""What the warm-start benchmark is made of: the problem and its shifts, and runs of it."""
