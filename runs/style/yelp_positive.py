"""The task `yelp-positive`: negative sentences of Yelp and what people made of them when they were asked for positive ones.

The files are those of the folder `../shared/data/style/yelp`, or of the folder that the environment variable YELP names: 500
sentences of the test part (`test.0.txt`) and as many human rewrites (`ref.0.txt`), in this order 16 for train, 16 for dev and
the rest for test. The loss is that of the rewrite, and an answer is correct if it equals the rewrite, which is rare.
"""

import os
from pathlib import Path

from hardprompt import Example, Task, Template

FOLDER = Path(os.environ.get("YELP", "../shared/data/style/yelp"))
TRAIN = DEV = 16


def lines(name: str) -> list[str]:
    """The lines of a file of the folder."""
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def yelp_positive(split: str) -> Task:
    """The task; there is only the split "default"."""
    pairs = [Example(source, target) for source, target in zip(lines("test.0.txt"), lines("ref.0.txt"), strict=True)]
    return Task(
        name="yelp-positive",
        description="Rewrite a negative sentence of a review as a positive one (Yelp).",
        template=Template("{prompt}\n{input}"),
        chat=True,
        train=pairs[:TRAIN],
        dev=pairs[TRAIN : TRAIN + DEV],
        test=pairs[TRAIN + DEV :],
        split=split,
        reference_prompts=[
            "Rewrite this sentence so that it is positive.",
            "Make this sentence positive with few changes.",
            "Write the opposite of this sentence.",
            "Rewrite this as a happy customer would say it, and change only a few words.",
        ],
        citation="Li et al. 2018, Delete, Retrieve, Generate, NAACL (the human rewrites)",
        source="https://github.com/lijuncen/Sentiment-and-Style-Transfer",
    )
