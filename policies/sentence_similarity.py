"""How much of the content of a sentence its rewrite keeps, measured by a sentence encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hardprompt.errors import LMError
from hardprompt.lm.loading import quiet_transformers
from hardprompt.lm.packaged import ENCODERS

MAX_TOKENS = 256
"""Number of tokens that are read of a text, as all-MiniLM-L6-v2 was trained."""


class EncoderContent:
    """The cosine of two sentence embeddings, at least 0, after Reimers and Gurevych (2019).

    With the last hidden states h_1, ..., h_T of the T tokens of a text, its embedding is their mean, and the similarity is

        max(0, cos(mean_t h_t(output), mean_t h_t(source))).

    It recognizes synonyms, which `chrf` does not. `hardprompt download minilm` fetches a small encoder.

    Args:
        encoder: the name of a downloaded encoder, or a folder of a transformers encoder whose embeddings are trained as means.
        device: the device of the encoder.

    Raises:
        LMError: the encoder is not downloaded, or the folder cannot be loaded.
    """

    def __init__(self, encoder: str = "minilm", device: str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        packaged = ENCODERS.get(encoder)
        if packaged and not packaged.origin:
            raise LMError(packaged.missing)
        folder = packaged.folder if packaged else Path(encoder).expanduser()
        if not folder.is_dir():
            raise LMError(
                f"no folder {encoder} of a sentence encoder; give an existing folder, or one of: {', '.join(ENCODERS)}"
            )
        try:
            with quiet_transformers():
                self._model = AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
                self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise LMError(f"no sentence encoder in {encoder} ({' '.join(str(error).split())[:150]})") from error

    def __call__(self, outputs: Sequence[str], sources: Sequence[str]) -> np.ndarray:
        """The similarity of each pair, (N,), from 0 to 1."""
        distinct = list(dict.fromkeys([*outputs, *sources]))
        if not distinct:
            return np.zeros(0)
        embeddings = dict(zip(distinct, self.embed(distinct), strict=True))
        pairs = zip(outputs, sources, strict=True)
        return np.array([max(0.0, float(embeddings[output] @ embeddings[source])) for output, source in pairs])

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """The embedding of each text, of length 1, (N, d)."""
        read = self._tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=MAX_TOKENS)
        states = self._model(**read.to(self._model.device)).last_hidden_state.float()
        is_token = read["attention_mask"][..., None]
        return torch.nn.functional.normalize((states * is_token).sum(1) / is_token.sum(1), dim=-1).cpu()
