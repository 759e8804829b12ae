"""A task of one's own: a folder with `task.yaml` and data files. A start for one, reading it, and checking it."""
