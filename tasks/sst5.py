"""SST-5: how positive a sentence of a film review is, on a scale of five steps.

A masked model reads the default template, "{input} {prompt} {mask}.", which is also that of RLPrompt.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="sst5",
    description="How positive is a sentence of a film review, in five steps (Stanford Sentiment Treebank)?",
    template="{input} {prompt}",
    label_words={
        "very negative": "terrible",
        "negative": "bad",
        "neutral": "okay",
        "positive": "good",
        "very positive": "great",
    },
    reference_prompts=("it was", "overall , it was", "the film is"),
    truncate_to="start",
    layouts=(ColumnLayout("{sentence}"), ColumnLayout("{text}")),
    headerless=("label", "text"),
    hub=("SetFit/sst5",),
    citation="Socher et al. 2013, Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank, EMNLP",
    licence="none stated by the authors; the k-shot files were released with RLPrompt (MIT)",
    source="https://nlp.stanford.edu/sentiment, as k-shot tsv with RLPrompt",
)
