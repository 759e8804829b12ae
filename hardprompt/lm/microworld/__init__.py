"""The embedded models: small language models whose whole training corpus is written by this package.

- `domain` and the files in `domains` define the facts of the embedded world and the questions about them;
- `texts` and `prose` write sentences;
- `world` lists the domains and their tasks;
- `corpus` writes the training documents, and `train` trains the models on them.

`hardprompt.tasks.calibrate` measures how well prompts do on the models. The weights are in the folders `model` (the task model,
`load_lm("microworld")`) and `reader` (`load_lm("microworld-reader")`).
"""
