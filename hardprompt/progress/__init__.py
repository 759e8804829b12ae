"""Listeners to the progress of studies: the live display on a terminal, the estimated time left, and TensorBoard curves."""
