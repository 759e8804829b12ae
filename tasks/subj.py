"""Subj: whether a sentence about a film is a subjective opinion or an objective description.

In the published files, subjective is 0. On the hub, the labels are read as names, since their numbers are the other way round.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="subj",
    description="Is a sentence about a film subjective or objective?",
    template="{input} {prompt}",
    label_words={"subjective": "subjective", "objective": "objective"},
    reference_prompts=("this is", "the sentence is", "subjective or objective ? the sentence is"),
    truncate_to="start",
    layouts=(ColumnLayout("{text}", "label_text", None), ColumnLayout("{sentence}"), ColumnLayout("{text}")),
    headerless=("label", "text"),
    hub=("SetFit/subj",),
    citation="Pang and Lee 2004, A Sentimental Education: Sentiment Analysis Using Subjectivity Summarization, ACL",
    licence="none stated by the authors; the k-shot files were released with RLPrompt (MIT)",
    source="https://www.cs.cornell.edu/people/pabo/movie-review-data, as k-shot tsv with RLPrompt, as csv with LM-BFF",
)
