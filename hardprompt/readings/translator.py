"""The reader `translator`: a trained adapter with which the frozen model writes the instruction behind a soft prompt.

The adapter A maps each vector p_i of the soft prompt to an input vector of the model, and has vectors s of its own that follow:

    A(p) = p + W_2 gelu(W_1 (p - mean) / std + b_1) + b_2
    text ~ LM(. | A(p_1), ..., A(p_L), s_1, ..., s_m)

with the mean and the standard deviation of the vocabulary embeddings. Only A and s are trained, on soft prompts of tasks whose
instructions y are known, with the loss -log LM(y | A(p), s) in nats per token. A trained translator is the idea of "Learning to
Translate from Soft to Hard LLM Prompts" (2026); the form of this adapter is our own. `runs/translator.py` trains one for the
embedded model, and `runs/translator.md` has what it reads.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu
from torch.nn.utils.rnn import pad_sequence

from hardprompt.errors import RequestError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.optimizers.base import Config
from hardprompt.optimizers.proposals import predicts_next_token
from hardprompt.prompt import SoftPrompt
from hardprompt.readings.base import needs_vectors, reader
from hardprompt.readings.problem import ReadingProblem


class Adapter(nn.Module):
    """The adapter: one hidden layer that is applied to each vector, and vectors that follow.

    Args:
        width: width d of the embeddings.
        hidden: width of the hidden layer.
        starts: number m of the vectors that follow.

    Attributes:
        mean, std: mean (d,) and standard deviation of the vocabulary embeddings.
        starts: the vectors that follow, (m, d).

    Example:
        >>> Adapter(8, 16, 2)(torch.zeros(3, 8)).shape
        torch.Size([5, 8])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, hidden: int, starts: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(()))
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        self.starts = nn.Parameter(torch.zeros(starts, width))

    @classmethod
    def untrained(cls, lm: FrozenLM, hidden: int = 128, starts: int = 4, seed: int = 0) -> "Adapter":
        """An adapter for a model that changes no vector yet; the vectors that follow are the mean embedding.

        Args:
            lm: the model.
            hidden, starts: as for the adapter.
            seed: seed of the weights of the hidden layer.

        Example:
            >>> from hardprompt import load_lm
            >>> lm = load_lm("microworld")
            >>> vectors = lm.vocab_embeds[:3].float()
            >>> bool((Adapter.untrained(lm)(vectors)[:3] == vectors).all())
            True
        """
        vocab = lm.vocab_embeds.float()
        adapter = cls(vocab.shape[1], hidden, starts).to(vocab.device)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            adapter.mean.copy_(vocab.mean(0))
            adapter.std.copy_(vocab.std())
            drawn = torch.randn(adapter.inner.weight.shape, generator=generator)
            adapter.inner.weight.copy_(drawn / vocab.shape[1] ** 0.5)
            for zero in (adapter.inner.bias, adapter.outer.weight, adapter.outer.bias):
                zero.zero_()
            adapter.starts.copy_(adapter.mean.expand(starts, -1))
        return adapter

    def forward(self, vectors: Tensor) -> Tensor:
        """The vectors (L + m, d) that the model reads for a soft prompt (L, d)."""
        changed = self.outer(gelu(self.inner((vectors - self.mean) / self.std)))
        return torch.cat([vectors + changed, self.starts])


def prefix(adapter: Adapter, lm: FrozenLM, vectors: Tensor) -> Tensor:
    """What the model reads before the text: its start tokens and the adapted vectors, (n, d)."""
    start = lm.embed(torch.tensor(lm.prefix_ids, dtype=torch.long, device=lm.device))
    return torch.cat([start, adapter(vectors.float()).to(start)])


def translation_loss(adapter: Adapter, lm: FrozenLM, prompts: Sequence[Tensor], texts: Sequence[Sequence[int]]) -> Tensor:
    """Cross entropy of texts behind soft prompts, in nats per token, with the end of each text as a token.

    Args:
        adapter: the adapter.
        lm: the frozen model.
        prompts: soft prompts, each (L, d).
        texts: the token ids of the text of each.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> ids = lm.encode("give the plural")
        >>> bool(translation_loss(Adapter.untrained(lm), lm, [lm.vocab_embeds[ids]], [ids]) > 0)
        True
    """
    end = int(lm.end_ids[0])
    read = [prefix(adapter, lm, vectors) for vectors in prompts]
    wanted = [torch.tensor([*ids, end], device=lm.device) for ids in texts]
    rows = [torch.cat([start, lm.embed(ids[:-1])]) for start, ids in zip(read, wanted, strict=True)]
    features = lm.hidden(pad_sequence(rows, batch_first=True), lengths=[len(row) for row in rows])
    behind = [features[i, len(start) - 1 : len(row)] for i, (start, row) in enumerate(zip(read, rows, strict=True))]
    return cross_entropy(lm.output_logits(torch.cat(behind)).float(), torch.cat(wanted))


def save_adapter(adapter: Adapter, lm: FrozenLM, file: str | Path) -> None:
    """Write an adapter and the name of its model as a safetensors file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.state_dict().items()}
    Path(file).write_bytes(save(tensors, metadata={"translator_for": lm.name}))


def load_adapter(file: str | Path, lm: FrozenLM) -> Adapter:
    """Read an adapter for a model. No code in the file is executed.

    Raises:
        RequestError: the file is missing or damaged, holds no adapter of this reader, or one for another model.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> save_adapter(Adapter.untrained(lm, starts=3), lm, "translator.safetensors")
        >>> load_adapter("translator.safetensors", lm).starts.shape
        torch.Size([3, 160])
    """
    from safetensors import SafetensorError, safe_open

    if not Path(file).is_file():
        raise RequestError(f"there is no file {file}; give the adapter that runs/translator.py has written")
    try:
        with safe_open(file, "pt") as opened:
            made_for = (opened.metadata() or {}).get("translator_for")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"{file} cannot be read ({reason}); expected an adapter in the safetensors format") from error
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if made_for is None or not all(len(shapes.get(name, ())) == 2 for name in ("inner.weight", "starts")):
        raise RequestError(f"{file} holds no adapter of a translator; give the one that runs/translator.py has written")
    width, [hidden, inputs], starts = lm.vocab_embeds.shape[1], shapes["inner.weight"], len(tensors["starts"])
    if inputs != width or made_for != lm.name:
        raise RequestError(
            f"{file} is an adapter for {made_for}, {inputs} wide, and {lm.name} is {width} wide; "
            "give one that was trained for it"
        )
    adapter = Adapter(width, hidden, starts)
    try:
        adapter.load_state_dict(tensors)
    except RuntimeError as error:
        raise RequestError(f"{file} lacks a part of an adapter or has one too many; train the adapter again") from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise RequestError(f"{file} has a value that is not finite; train the adapter again with a lower learning rate")
    return adapter.to(lm.device).requires_grad_(False)


class TranslatorConfig(Config):
    """Options of the translator."""

    file: str | None = None
    """The adapter, a safetensors file that runs/translator.py has written for the model. It is required."""

    samples: NonNegativeInt = 32
    """Number of texts that are sampled, besides the one of the most probable tokens."""


def _check(problem: ReadingProblem, config: TranslatorConfig) -> None:
    needs_vectors(problem, config)
    predicts_next_token(problem, config)
    if config.file is None:
        raise RequestError("translator needs the option file, an adapter that runs/translator.py has trained for the model")
    adapter, lm = load_adapter(config.file, problem.lm), problem.lm
    length = len(lm.prefix_ids) + len(problem.target_tokens) + len(adapter.starts) + problem.prompt_length
    if length > lm.max_length:
        raise RequestError(
            f"the soft prompt and a text behind it have {length} tokens, more than {lm.name} reads ({lm.max_length}); "
            "use a shorter prompt"
        )


@reader("translator", TranslatorConfig, check=_check)
@torch.no_grad()
def translator(problem: ReadingProblem, config: TranslatorConfig) -> list[list[int]]:
    """What the model writes behind the vectors, changed by an adapter that was trained on soft prompts of other tasks."""
    assert config.file is not None and isinstance(problem.target, SoftPrompt)
    lm = problem.lm
    start = prefix(load_adapter(config.file, lm), lm, problem.target.embeds)
    allowed = problem.allowed[~torch.isin(problem.allowed, lm.end_ids)]
    columns = torch.cat([allowed, lm.end_ids])
    texts = torch.empty(1 + config.samples, 0, dtype=torch.long, device=lm.device)
    for _ in range(problem.prompt_length):
        read = torch.cat([start.expand(len(texts), -1, -1), lm.embed(texts)], 1)
        logits = lm.output_logits(lm.hidden(read)[:, -1], columns).float()
        if not texts.shape[1]:
            logits[:, len(allowed) :] = -torch.inf
        drawn = torch.multinomial(logits.softmax(-1).cpu(), 1, generator=problem.generator).to(lm.device)
        drawn[0] = logits[0].argmax()
        texts = torch.cat([texts, columns[drawn]], 1)
    problem.counter.forward += texts.numel() + len(texts) * len(start)
    ends = torch.isin(texts, lm.end_ids)
    kept = ends.cumsum(1) == 0
    found = [ids[keep].tolist() for ids, keep in zip(texts, kept, strict=True)]
    problem.score_on_dev([list(ids) for ids in dict.fromkeys(map(tuple, found))])
    return found[:1]
