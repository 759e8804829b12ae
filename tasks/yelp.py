"""Yelp polarity: whether a review of a business is positive or negative.

A masked model reads the default template, "{input} {prompt} {mask}.", which is also that of RLPrompt.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="yelp",
    description="Is a review of a business positive or negative (Yelp polarity)?",
    template="{input} {prompt}",
    label_words={"negative": "terrible", "positive": "great"},
    reference_prompts=("it was", "overall , it was", "in one word , the place is"),
    truncate_to="start",
    layouts=(ColumnLayout("{sentence}"), ColumnLayout("{text}"), ColumnLayout("{Text}", "Class Index", first_label=1)),
    headerless=("Class Index", "Text"),
    hub=("fancyzhx/yelp_polarity",),
    citation="Zhang, Zhao and LeCun 2015, Character-level Convolutional Networks for Text Classification, NeurIPS",
    licence="Yelp's dataset terms, for academic use; the k-shot files were released with RLPrompt (MIT)",
    source="https://www.yelp.com/dataset, as csv by Zhang et al., as k-shot tsv with RLPrompt (yelp-2)",
)
