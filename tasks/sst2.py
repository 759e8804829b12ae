"""SST-2: whether a sentence of a film review is positive or negative.

A masked model reads the default template, "{input} {prompt} {mask}.", which is also that of RLPrompt.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="sst2",
    description="Is a sentence of a film review positive or negative (Stanford Sentiment Treebank)?",
    template="{input} {prompt}",
    label_words={"negative": "terrible", "positive": "great"},
    reference_prompts=("it was", "overall , it was", "the film is"),
    truncate_to="start",
    layouts=(ColumnLayout("{sentence}"), ColumnLayout("{text}")),
    hub=("nyu-mll/glue", "sst2"),
    citation="Socher et al. 2013, Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank, EMNLP",
    licence="none stated by the authors; the k-shot files were released with RLPrompt (MIT)",
    source="https://nlp.stanford.edu/sentiment, as tsv with GLUE, as k-shot tsv with RLPrompt",
)
