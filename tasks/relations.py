"""Six relations between words, given as lists of pairs.

The tasks come from the study of function vectors (Todd et al. 2024). The study of the geometry of soft prompts (Bakalova 2024)
trains on four fifths of the pairs and tests on the others, which it draws with seed 42. The split "default" has the same test
pairs; its dev pairs are a fifth of the remaining pairs.

An answer is correct if the generated text begins with the target, as published. In the two tasks about letters, the generated
text must equal the target, since many words begin with the right letter.
"""

from typing import Any

from hardprompt.data.datasets import ColumnLayout, DataTask


def _relation(file: str, description: str, *reference_prompts: str, **fields: Any) -> DataTask:
    return DataTask(
        name=file.replace("_", "-"),
        description=description,
        template="{prompt}\nInput: {input}\nLabel:",
        reference_prompts=reference_prompts,
        layouts=(ColumnLayout("{input}", "output"),),
        files=(f"{file}.json",),
        citation="Todd et al. 2024, Function Vectors in Large Language Models, ICLR; split by Bakalova 2024",
        licence="MIT",
        source="https://github.com/ericwtodd/function_vectors",
        **fields,
    )


TASKS = [
    _relation(
        "capitalize_first_letter",
        "Write the first letter of a word as a capital.",
        "Write the first letter of the word as a capital.",
        "The first letter, in upper case.",
        "Say with which capital letter the word begins.",
    ),
    _relation(
        "lowercase_first_letter",
        "Write the first letter of a word in capitals as a small letter.",
        "Write the first letter of the word as a small letter.",
        "The first letter, in lower case.",
        "Say with which small letter the word begins.",
    ),
    _relation(
        "country-capital",
        "Name the capital of a country.",
        "Name the capital of the country.",
        "The capital city of each country.",
        "Say which city is the capital.",
        match="starts-with",
    ),
    _relation(
        "landmark-country",
        "Name the country that a landmark is in.",
        "Name the country of the landmark.",
        "The country in which each place is located.",
        "Say in which country it is.",
        match="starts-with",
    ),
    _relation(
        "present-past",
        "Give the past tense of a verb.",
        "Write the past tense of the verb.",
        "The past form of each verb.",
        "Say the verb in the past.",
        match="starts-with",
    ),
    _relation(
        "singular-plural",
        "Give the plural of a noun.",
        "Write the plural of the noun.",
        "The plural form of each noun.",
        "Say the word for several of them.",
        match="starts-with",
    ),
]
