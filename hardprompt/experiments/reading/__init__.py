"""The benchmark of readings: soft prompts of known origin, and how well readers read them.

`prompts.py` loads the prompts, `evaluate.py` reads them with any readers into a folder that can be resumed, and `table.py`
makes the tables.
"""
