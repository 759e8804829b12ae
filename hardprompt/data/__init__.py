"""Tasks and their data.

`task.py` is the contract of a task and `catalogue.py` finds one by name. `rows.py` reads data files, `yaml_lines.py` YAML files
with line numbers, `splits.py` makes train, dev and test, `datasets.py` describes a task whose data are kept elsewhere, and
`task_file.py` reads a `task.yaml`.
"""
