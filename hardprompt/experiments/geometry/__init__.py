"""The geometry of soft prompts in embedding space (Bakalova 2024).

`run.py` runs a study: `training.py` trains the prompts, `analysis.py` measures their vectors, and `report.py` writes the
results.
"""
