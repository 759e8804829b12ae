"""Listeners that show the progress of studies: a live display, the estimated time left, and TensorBoard curves."""
