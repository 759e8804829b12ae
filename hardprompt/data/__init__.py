"""Tasks and their data.

- `task.py`: the contract of a task; `catalogue.py`: tasks by name.
- `datasets.py`: tasks whose data are outside the package; `splits.py`: their train, dev and test sets.
- `task_file.py`: tasks described by a `task.yaml`.
- `rows.py` reads data files, and `yaml_lines.py` reads YAML files with line numbers.
"""
