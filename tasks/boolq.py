"""BoolQ: a yes/no question about a passage. An input that is too long is cut at its start, since the question is at its end."""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="boolq",
    description="Answer a question about a passage with yes or no.",
    template="{input} {prompt}",
    label_words={"False": "no", "True": "yes"},
    reference_prompts=("answer :", "the answer is", "yes or no ? the answer is"),
    truncate_to="end",
    layouts=(ColumnLayout("{passage}\n{question}?", "answer"), ColumnLayout("{passage}\n{question}?")),
    files=("boolq.jsonl",),
    hub=("google/boolq",),
    citation="Clark et al. 2019, BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions, NAACL",
    licence="CC BY-SA 3.0",
    source="https://github.com/google-research-datasets/boolean-questions",
)
