"""The frozen language model: loading it, its allowed vocabulary, and the surprisal that it assigns to a prompt.

- `loading.py`: `load_lm`, which loads an embedded model, a local folder, or a model of the hub.
- `frozen.py`: causal Hugging Face models; `masked.py`: masked ones; `encoder_decoder.py`: encoder-decoder models; `kinds.py`:
  which kind a checkpoint is.
- `checks.py`: the comparison of a model with its plain forward pass, whose result `verdicts.py` keeps; `output_layer.py`,
  `lengths.py`: how features become logits, and which sequences can be in one batch.
- `vocabulary.py`: the tokens that a hard prompt may use.
- `perplexity.py`: the surprisal of a prompt under a model.
- `memory.py`, `prefix_cache.py`, `last_layer.py`: how forward passes save memory and time.
- `growing.py`: sequences that grow token by token.
- `microworld/`: the embedded models and the scripts that train them.
"""

from hardprompt.lm.encoder_decoder import EncoderDecoderLM
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.loading import EMBEDDED, load_lm
from hardprompt.lm.masked import MaskedLM
from hardprompt.lm.perplexity import log_perplexity, projected_nll, surprisals
from hardprompt.lm.vocabulary import allowed_vocabulary

__all__ = [
    "EMBEDDED",
    "EncoderDecoderLM",
    "FrozenLM",
    "MaskedLM",
    "allowed_vocabulary",
    "load_lm",
    "log_perplexity",
    "projected_nll",
    "surprisals",
]
