"""Studies: optimizers x weights x splits x seeds on one task and model, and their record.

`recipe.py` reads a file that describes many studies and `planner.py` turns it into requests and runs; `estimate.py` estimates
their cost. `loading.py` loads what a request names, `loaded_study.py` carries out single runs, and `measure.py` measures the
prompts that they find. `engine.py` carries out runs in this process, `workers.py` in several processes (`resources.py` chooses
the number), and `ray_cluster.py` and `slurm.py` on many machines (`remote.py` is what they share). `runner.py` passes the
missing runs to an engine and records the results, until all are recorded or `cancellation.py` stops the study. `evaluation.py`
measures any prompt, and `single_run.py` runs one optimizer without a record.
"""
