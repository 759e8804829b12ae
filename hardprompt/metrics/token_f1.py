"""The words that two texts share."""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def token_f1(prediction: str, target: str) -> float:
    """F1 of the words that two texts share, as in SQuAD; Khashabi et al. (2022) compare projections with it.

    The texts are bags of lower-case words without punctuation and articles: with s shared words, precision p = s / words of the
    prediction, recall r = s / words of the target, and F1 = 2 p r / (p + r); 0 if no word is shared. The order of the words
    has no effect.

    >>> token_f1("Give the plural!", "give plural of a word")
    0.6666666666666666
    """
    found, wanted = _words(prediction), _words(target)
    shared = (found & wanted).total()
    if not shared:
        return 0.0
    precision, recall = shared / found.total(), shared / wanted.total()
    return 2 * precision * recall / (precision + recall)


def _words(text: str) -> Counter[str]:
    return Counter(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
