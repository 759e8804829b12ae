"""The frozen language model: loading it, its allowed vocabulary, and the surprisal it assigns to a prompt.

`frozen.py` wraps a Hugging Face model, `vocabulary.py` says which tokens a hard prompt may use, `fluency.py` measures how
expected a prompt is to the model, and `microworld/` holds the model that ships with the package and the scripts that made it.
"""

from hardprompt.lm.fluency import log_perplexity, projected_nll, surprisals
from hardprompt.lm.frozen import EMBEDDED, FrozenLM, load_lm
from hardprompt.lm.vocabulary import allowed_vocabulary

__all__ = [
    "EMBEDDED",
    "FrozenLM",
    "allowed_vocabulary",
    "load_lm",
    "log_perplexity",
    "projected_nll",
    "surprisals",
]
