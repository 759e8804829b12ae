"""The frozen language model: loading it, its allowed vocabulary, and the surprisal it assigns to a prompt.

`frozen.py` wraps a causal Hugging Face model and `masked.py` a masked one, `vocabulary.py` says which tokens a hard prompt may
use, `fluency.py` measures how expected a prompt is to the model, and `microworld/` holds the model that ships with the package
and the scripts that made it.
"""

from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.loading import EMBEDDED, load_lm
from hardprompt.lm.masked import MaskedLM
from hardprompt.lm.perplexity import log_perplexity, projected_nll, surprisals
from hardprompt.lm.vocabulary import allowed_vocabulary

__all__ = [
    "EMBEDDED",
    "FrozenLM",
    "MaskedLM",
    "allowed_vocabulary",
    "load_lm",
    "log_perplexity",
    "projected_nll",
    "surprisals",
]
