"""The embedded microworld: a small language model whose whole corpus is written by the project itself.

`world` states what is true in it and which tasks it can be asked, `corpus` writes the training documents,
`train` makes the model from them and `calibrate` measures what prompts are worth on it. Importing this package
or `world` needs nothing but the standard library.
"""
