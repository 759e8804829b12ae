"""CR: whether a sentence of a customer review is positive or negative.

A masked model reads the default template, "{input} {prompt} {mask}.", which is also that of RLPrompt. Some of the published
k-shot files have empty sentences, which are left out and counted.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="cr",
    description="Is a sentence of a customer review of a product positive or negative?",
    template="{input} {prompt}",
    label_words={"negative": "terrible", "positive": "great"},
    reference_prompts=("it was", "overall , it was", "in one word , the product is"),
    truncate_to="start",
    unusable="skip",
    layouts=(ColumnLayout("{text}", "label_text", None), ColumnLayout("{sentence}"), ColumnLayout("{text}")),
    headerless=("label", "text"),
    hub=("SetFit/SentEval-CR",),
    citation="Hu and Liu 2004, Mining and Summarizing Customer Reviews, KDD",
    licence="none stated by the authors; the k-shot files were released with RLPrompt (MIT)",
    source="https://www.cs.uic.edu/~liub/FBS/sentiment-analysis.html, as k-shot tsv with RLPrompt, as csv with LM-BFF",
)
