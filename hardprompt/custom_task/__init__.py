"""Your own tasks: create a folder to start from, check a task before a long run, and score trivial baselines."""
