"""MR: whether a snippet of a film review is positive or negative.

A masked model reads the default template, "{input} {prompt} {mask}.", which is also that of RLPrompt.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="mr",
    description="Is a snippet of a film review positive or negative (Movie Review polarity)?",
    template="{input} {prompt}",
    label_words={"negative": "terrible", "positive": "great"},
    reference_prompts=("it was", "overall , it was", "the film is"),
    truncate_to="start",
    layouts=(ColumnLayout("{sentence}"), ColumnLayout("{text}")),
    headerless=("label", "text"),
    hub=("cornell-movie-review-data/rotten_tomatoes",),
    citation="Pang and Lee 2005, Seeing Stars: Exploiting Class Relationships for Sentiment Categorization, ACL",
    licence="none stated by the authors; the k-shot files were released with RLPrompt (MIT)",
    source="https://www.cs.cornell.edu/people/pabo/movie-review-data, as k-shot tsv with RLPrompt",
)
