"""The catalogue of tasks, with one module per family. Each module is small enough to copy for a task of your own."""
