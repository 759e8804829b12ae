"""AG News: the topic of a news item, from its headline and its beginning.

The template that was released with RLPrompt has the answer before the text, which only a masked model can predict. The label
word is the first word of the text, without a blank before it. A causal model reads the text first and then predicts the answer.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="agnews",
    description="What is the topic of a news item: world, sports, business or technology?",
    template="{input} {prompt}",
    masked_template="{mask} {prompt} {input}",
    label_words={"World": "World", "Sports": "Sports", "Business": "Business", "Tech": "Tech"},
    reference_prompts=("topic :", "the topic of this news item is", "category :"),
    truncate_to="start",
    layouts=(
        ColumnLayout("{sentence}"),
        ColumnLayout("{text}"),
        ColumnLayout("{Title} {Description}", "Class Index", first_label=1),
    ),
    headerless=("Class Index", "Title", "Description"),
    hub=("fancyzhx/ag_news",),
    citation="Zhang, Zhao and LeCun 2015, Character-level Convolutional Networks for Text Classification, NeurIPS",
    licence="the corpus for non-commercial use; the k-shot files were released with RLPrompt (MIT)",
    source="http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html, as k-shot tsv with RLPrompt",
)
