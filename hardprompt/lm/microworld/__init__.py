"""The embedded models: small language models whose whole corpus is written by the project itself.

`world` states what is true in it and which tasks it can be asked (`domain`, a module per domain, `prose`), `corpus` writes
the training documents, `train` makes the models from them, and `hardprompt.tasks.calibrate` measures what prompts are worth on
them. The weights are in `model` (the task LM, `load_lm("microworld")`) and `reader` (`load_lm("microworld-reader")`).
"""
