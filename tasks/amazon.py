"""Amazon polarity: whether a review of a product is positive or negative.

The input is the review without its title, as in PEZ.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="amazon",
    description="Is a review of a product positive or negative (Amazon polarity)?",
    template="{input} {prompt}",
    label_words={"negative": "terrible", "positive": "great"},
    reference_prompts=("it was", "overall , it was", "in one word , the product is"),
    truncate_to="start",
    layouts=(
        ColumnLayout("{sentence}"),
        ColumnLayout("{content}"),
        ColumnLayout("{text}"),
        ColumnLayout("{Text}", "Class Index", first_label=1),
    ),
    headerless=("Class Index", "Title", "Text"),
    hub=("fancyzhx/amazon_polarity",),
    citation="Zhang, Zhao and LeCun 2015, Character-level Convolutional Networks for Text Classification, NeurIPS",
    licence="Apache 2.0, as stated on the hub",
    source="https://snap.stanford.edu/data/web-Amazon.html, as csv by Zhang et al.",
)
