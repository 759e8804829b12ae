"""The catalogue of tasks: one module per family, each small enough to copy as a start for one's own."""
