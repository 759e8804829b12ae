"""DBpedia: what an article of Wikipedia is about, in 14 classes.

The input is the text without the title, as in the k-shot files.
"""

from hardprompt.data.datasets import ColumnLayout, DataTask

TASK = DataTask(
    name="dbpedia",
    description="What is an article of Wikipedia about, of 14 classes?",
    template="{input} {prompt}",
    label_words={
        "Company": "company",
        "EducationalInstitution": "school",
        "Artist": "artist",
        "Athlete": "sports",
        "OfficeHolder": "politics",
        "MeanOfTransportation": "transport",
        "Building": "building",
        "NaturalPlace": "nature",
        "Village": "village",
        "Animal": "animal",
        "Plant": "plant",
        "Album": "album",
        "Film": "film",
        "WrittenWork": "book",
    },
    reference_prompts=("category :", "the category of this text is", "in one word , this text is about"),
    truncate_to="start",
    layouts=(
        ColumnLayout("{sentence}"),
        ColumnLayout("{content}"),
        ColumnLayout("{text}"),
        ColumnLayout("{Text}", "Class Index", first_label=1),
    ),
    headerless=("Class Index", "Title", "Text"),
    hub=("fancyzhx/dbpedia_14",),
    citation="Zhang, Zhao and LeCun 2015, Character-level Convolutional Networks for Text Classification, NeurIPS",
    licence="CC BY-SA 3.0; the k-shot files were released with RLPrompt (MIT)",
    source="https://www.dbpedia.org, as csv by Zhang et al., as k-shot tsv with RLPrompt",
)
