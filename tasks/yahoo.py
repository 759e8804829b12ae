"""Yahoo Answers: the topic of a question, in ten classes. The input is the title of the question, as in the k-shot files."""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="yahoo",
    description="What is the topic of a question on Yahoo Answers, of ten topics?",
    template="{input} {prompt}",
    label_words={
        "Society & Culture": "society",
        "Science & Mathematics": "science",
        "Health": "health",
        "Education & Reference": "education",
        "Computers & Internet": "computer",
        "Sports": "sports",
        "Business & Finance": "business",
        "Entertainment & Music": "music",
        "Family & Relationships": "family",
        "Politics & Government": "politics",
    },
    reference_prompts=("topic :", "the topic of this question is", "this question is about"),
    truncate_to="start",
    layouts=(
        ColumnLayout("{sentence}"),
        ColumnLayout("{question_title}", "topic"),
        ColumnLayout("{text}"),
        ColumnLayout("{Title}", "Class Index", first_label=1),
    ),
    headerless=("Class Index", "Title", "Question", "Answer"),
    hub=("community-datasets/yahoo_answers_topics",),
    citation="Zhang, Zhao and LeCun 2015, Character-level Convolutional Networks for Text Classification, NeurIPS",
    licence="Yahoo Webscope L6, for research only; the k-shot files were released with RLPrompt (MIT)",
    source="Yahoo Webscope L6, as csv by Zhang et al., as k-shot tsv with RLPrompt",
)
