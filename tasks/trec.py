"""TREC: what a question asks for, in six classes.

The files number the classes in different orders: the k-shot files (`label`) as below, and the hub by the column `coarse_label`
or, in older copies, `label-coarse`.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="trec",
    description="What does a question ask for: a description, an entity, an abbreviation, a person, a place or a number?",
    template="{input} {prompt}",
    label_words={
        "DESC": "Description",
        "ENTY": "Entity",
        "ABBR": "Expression",
        "HUM": "Human",
        "LOC": "Location",
        "NUM": "Number",
    },
    reference_prompts=("Type :", "The type of the answer is", "The question asks for this type of answer :"),
    truncate_to="start",
    layouts=(
        ColumnLayout("{text}", "coarse_label", numbered=("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")),
        ColumnLayout("{text}", "label-coarse", numbered=("DESC", "ENTY", "ABBR", "HUM", "NUM", "LOC")),
        ColumnLayout("{sentence}"),
        ColumnLayout("{text}"),
    ),
    headerless=("label", "text"),
    hub=("CogComp/trec",),
    citation="Li and Roth 2002, Learning Question Classifiers, COLING",
    licence="none stated by the authors; the k-shot files were released with RLPrompt (MIT)",
    source="https://cogcomp.seas.upenn.edu/Data/QA/QC, as k-shot tsv with RLPrompt, as csv with LM-BFF",
)
