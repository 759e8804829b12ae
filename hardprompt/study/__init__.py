"""Studies: optimizers x weights x splits x seeds on one task and model, and the record that they leave.

`recipe.py` reads a file that describes many studies and `planner.py` turns it into requests and runs. `loading.py` loads what a
request names, `loaded_study.py` makes single runs, and `measure.py` measures every prompt that they find. `engine.py` makes
runs in this process, `workers.py` in several processes, as many as `resources.py` finds room for, and `cluster.py` on many
machines. `runner.py` asks an engine for the missing runs and keeps the record, until all are made or `cancellation.py` stops
the study. `evaluation.py` measures any prompt, and `single_run.py` runs one optimizer without a record.
"""
