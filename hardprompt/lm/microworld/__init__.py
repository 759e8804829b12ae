"""The embedded microworld: a small language model whose whole corpus is written by the project itself.

`world` states what is true in it and which tasks it can be asked (`domain`, `nouns`, `reviews`, `prose`), `corpus` writes the
training documents, `train` makes the model from them, and `hardprompt.tasks.calibrate` measures what prompts are worth on it.
"""
