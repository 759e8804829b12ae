"""Does a prompt that was found on one model work on another? The matrix of prompts x models.

`prompts.py` loads the prompts of studies, `measure.py` scores them on a model, `run.py` fills a folder that can be resumed,
`table.py` computes intervals, differences, ranks and correlations, and `report.py` writes tables, a figure and a page.
"""
