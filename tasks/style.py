"""Style transfer between parallel sentences: informal to formal, and between modern English and Shakespeare's.

The model writes the other sentence, and an answer is correct if it equals the reference, which is rare even for good rewrites:
the loss of the reference is the measure to look at. To optimize prompts for content and style instead, use
`hardprompt.policies.style.StyleReward` on the inputs of these tasks.

GYAFC is given out under a licence agreement, so its files cannot be downloaded. `--data` is the folder of one of its domains,
such as `Family_Relationships`; the answers of dev (`tune`) and test are the first of the four references.
"""

from typing import Any

from hardprompt.data.datasets import ColumnLayout
from hardprompt.data.parallel import ParallelTask


def _style(name: str, description: str, *reference_prompts: str, **fields: Any) -> ParallelTask:
    return ParallelTask(
        name=name,
        description=description,
        template="{prompt}\nInput: {input}\nOutput:",
        reference_prompts=reference_prompts,
        layouts=(ColumnLayout("{source}", "target"),),
        **fields,
    )


SHAKESPEARE = {
    "citation": "Xu et al. 2012, Paraphrasing for Style, COLING; split by Jhamtani et al. 2017",
    "licence": "none stated by the authors; the modern lines are those of SparkNotes",
    "source": "https://github.com/harsh19/Shakespearizing-Modern-English, as tsv with RLPrompt",
}

TASKS = [
    _style(
        "formality",
        "Rewrite an informal sentence in a formal style (GYAFC).",
        "Rewrite the sentence in a formal style.",
        "Say the same in formal English.",
        "Write the sentence as in an official letter.",
        pairs=(("{part}/informal", "{part}/formal.ref0"), ("{part}/informal", "{part}/formal")),
        citation="Rao and Tetreault 2018, Dear Sir or Madam, May I Introduce the GYAFC Dataset, NAACL",
        licence="by agreement, for research only: local files only",
        source="https://github.com/raosudha89/GYAFC-corpus, after the agreement on Yahoo Webscope L6",
    ),
    _style(
        "shakespeare",
        "Rewrite a modern sentence in the English of Shakespeare.",
        "Rewrite the sentence in the English of Shakespeare.",
        "Say the same in old English, as Shakespeare did.",
        "Write the sentence as in a play by Shakespeare.",
        pairs=(("{part}.modern.nltok", "{part}.original.nltok"),),
        labelled=("1", "0"),
        **SHAKESPEARE,
    ),
    _style(
        "shakespeare-modern",
        "Rewrite a sentence of Shakespeare in modern English.",
        "Rewrite the sentence in modern English.",
        "Say the same in the English of today.",
        "Explain the sentence in plain modern words.",
        pairs=(("{part}.original.nltok", "{part}.modern.nltok"),),
        labelled=("0", "1"),
        **SHAKESPEARE,
    ),
]
