"""Does the text read off a soft prompt do what the soft prompt does? Metrics of Patel et al. (2025), section 3, and others.

The text is the projection of the soft prompt, or any other text (`ScoredPrompt`'s `reading`). The distances of its tokens to
the vectors have a value only if there is one token per vector. A hard prompt is its own projection, so all of these are zero by
construction for it; its record holds null with the reason.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.lm.chat import template_of
from hardprompt.lm.frozen import FrozenLM
from hardprompt.metrics.base import Better, Controls, Metric, metric, values
from hardprompt.metrics.continuation_kl import continuation_kl
from hardprompt.metrics.scored_prompt import ScoredPrompt
from hardprompt.projection import similarity
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer

NOT_FOR_HARD = "a hard prompt is its own projection: zero by construction"

BEHAVIOURAL_EXAMPLES = 32
"""Number of examples whose continuations are compared; each continuation is sampled token by token."""


def faithfulness(scored: ScoredPrompt) -> dict[str, Any]:
    """All faithfulness metrics of a soft prompt against its text, by name.

    Args:
        scored: a soft prompt with the examples to compare on.

    Returns:
        `distance_cosine` and `distance_euclidean` (mean over positions of the distance to the closest allowed token, or to the
        token of a proposed reading), `output_gap` (squared logits), `loss_gap` (nats per example), `accuracy_gap` (fraction),
        `kl` (nats), `behavioural_distance` (nats per continuation), `agreement` (fraction), and for classification `label_kl`
        (nats). For a hard prompt each is None, and `reason` explains why. The two distances are None, with a reason, for a
        proposed reading that has not one token per vector.

    Example:
        >>> from hardprompt import Scorer, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> soft = SoftPrompt(lm.vocab_embeds[lm.encode("give the plural")])
        >>> found = faithfulness(ScoredPrompt(soft, Scorer(lm, task, task.test[:8])))
        >>> found["agreement"], found["accuracy_gap"]
        (1.0, 0.0)
    """
    if not scored.is_soft:
        return dict.fromkeys(IN_RECORDS) | {"reason": NOT_FOR_HARD}
    found: dict[str, Any] = dict(values(FAITHFULNESS, scored))
    if found["distance_cosine"] is None and scored.reading is not None:
        tokens, vectors = len(scored.reading), len(_vectors(scored))
        found["reason"] = f"the reading has {tokens} tokens for {vectors} vectors: no distance of each token to its vector"
    return {name: value for name, value in found.items() if name != "label_kl" or value is not None}


def reading_gap(embeds: Float[Tensor, "L d"], reading: Float[Tensor, "L d"], measure: str) -> Float[Tensor, ""]:
    """1/L sum_i D(r_i, P_i) to the embeddings of a proposed reading, with D = 1 - cosine or the Euclidean distance."""
    if measure == "cosine":
        return (1 - torch.nn.functional.cosine_similarity(embeds, reading, dim=-1)).mean()
    return (embeds - reading).norm(dim=-1).mean()


def distance_gap(embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "A d"], measure: str) -> Float[Tensor, ""]:
    """Delta_D = 1/L sum_i min_y D(f_V(y), P_i), with D = 1 - cosine or the Euclidean distance."""
    closest = similarity(embeds, vocab, measure).amax(-1)
    return (1 - closest if measure == "cosine" else -closest).mean()


def output_gap(logits: Float[Tensor, "N V"], other: Float[Tensor, "N V"]) -> Float[Tensor, ""]:
    """Delta_Output = mean over examples of 1/|X| sum_j (l_j - l'_j)^2, in squared logits.

    The paper does not define the positions; here it is the first token of the answer. Logits have an arbitrary additive
    constant, on which this measure depends and `mean_kl` does not.
    """
    return (logits - other).square().mean()


def mean_kl(logits: Float[Tensor, "N C"], other: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Mean over examples of KL(softmax(logits) || softmax(other)), in nats."""
    log_p, log_q = logits.log_softmax(-1), other.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def agreement(logits: Float[Tensor, "N C"], other: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Share of examples on which both have the same most probable entry."""
    return (logits.argmax(-1) == other.argmax(-1)).float().mean()


def compare_next_tokens(scored: ScoredPrompt) -> dict[str, float]:
    """`output_gap`, `kl` and `agreement` of the next-token logits, in blocks of examples whose logits fit into memory."""
    scorer, measures = scored.test, {"output_gap": output_gap, "kl": mean_kl, "agreement": agreement}
    count = len(scorer.examples)
    block_size = scorer.lm.memory.rows(4 * scorer.lm.footprint.logits)
    if scored.task.label_words and block_size >= count:
        both = scored.score_with_logits()
        return {name: float(measure(*both)) for name, measure in measures.items()}
    totals = dict.fromkeys(measures, 0.0)
    for first in range(0, count, block_size):
        block = range(first, min(first + block_size, count))
        of_soft, of_hard = (scorer.next_token_logits(prompt, block).float() for prompt in (_vectors(scored), scored.hard.ids))
        for name, measure in measures.items():
            totals[name] += len(block) / count * float(measure(of_soft, of_hard))
    return totals


def _vectors(scored: ScoredPrompt) -> Tensor:
    assert isinstance(scored.prompt, SoftPrompt)
    return scored.prompt.embeds.float()


def _distance(scored: ScoredPrompt, measure: str) -> float | None:
    vocab_embeds = scored.lm.vocab_embeds
    if scored.reading is not None:
        if len(scored.reading) != len(_vectors(scored)):
            return None
        return float(reading_gap(_vectors(scored), vocab_embeds[list(scored.reading)].float(), measure))
    return float(distance_gap(_vectors(scored), vocab_embeds[scored.allowed].float(), measure))


def _instruction(lm: FrozenLM, task: Task) -> Tensor:
    return lm.vocab_embeds[list(HardPrompt.in_place(lm, template_of(lm, task), task.reference_prompts[0]).ids)]


def _between_tokens(lm: FrozenLM, task: Task) -> tuple[SoftPrompt, SoftPrompt]:
    """Vectors away from all tokens, and the embeddings of a text."""
    embeds = _instruction(lm, task)
    noise = torch.randn(embeds.shape, generator=torch.Generator().manual_seed(0)).to(embeds)
    return SoftPrompt(embeds + lm.vocab_embeds.std() * noise), SoftPrompt(embeds)


def _weakened(lm: FrozenLM, task: Task) -> tuple[SoftPrompt, SoftPrompt]:
    """Vectors with the directions of a text's embeddings but other effects, since they are short, and the embeddings."""
    embeds = _instruction(lm, task)
    return SoftPrompt(0.05 * embeds), SoftPrompt(embeds)


def _unchanged(lm: FrozenLM, task: Task) -> tuple[SoftPrompt, SoftPrompt]:
    return _weakened(lm, task)[::-1]


def _faithfulness(
    name: str, unit: str, better: Better, controls: Controls
) -> Callable[[Callable[[ScoredPrompt], float | None]], Metric]:
    return metric(name, unit=unit, better=better, prompts="soft", controls=controls, group="faithfulness")


@_faithfulness("distance_cosine", "1 - cosine", "lower", _between_tokens)
def distance_cosine(scored: ScoredPrompt) -> float | None:
    """Mean cosine distance of the vectors to the closest allowed token (Patel et al.)."""
    return _distance(scored, "cosine")


@_faithfulness("distance_euclidean", "embedding units", "lower", _between_tokens)
def distance_euclidean(scored: ScoredPrompt) -> float | None:
    """Mean Euclidean distance of the vectors to the closest allowed token (Patel et al.)."""
    return _distance(scored, "euclidean")


@_faithfulness("output_gap", "squared logits", "lower", _weakened)
def mean_output_gap(scored: ScoredPrompt) -> float:
    """Mean squared difference of the next-token logits of the soft prompt and its projection (Patel et al.)."""
    return scored.compared(compare_next_tokens)["output_gap"]


@_faithfulness("loss_gap", "nats per example", "lower", _weakened)
def loss_gap(scored: ScoredPrompt) -> float:
    """Absolute difference of the test losses of the soft prompt and its projection (Patel et al.)."""
    return float((scored.scores("test").mean_loss - scored.reading_scores.mean_loss).abs())


@_faithfulness("accuracy_gap", "fraction", "none", _unchanged)
def accuracy_gap(scored: ScoredPrompt) -> float:
    """Test accuracy of the soft prompt minus that of its projection."""
    return float(scored.scores("test").accuracy - scored.reading_scores.accuracy)


@_faithfulness("kl", "nats", "lower", _weakened)
def next_token_kl(scored: ScoredPrompt) -> float:
    """KL divergence of the soft prompt's next-token distribution from its projection's, mean over examples."""
    return scored.compared(compare_next_tokens)["kl"]


@_faithfulness("behavioural_distance", "nats", "lower", _weakened)
def behavioural_distance(scored: ScoredPrompt) -> float:
    """KL divergence of the soft prompt from its projection, over continuations sampled under it (Melamed et al. 2024)."""
    test = scored.test
    first = Scorer(test.lm, test.task, test.examples[:BEHAVIOURAL_EXAMPLES], test.counter)
    return continuation_kl(scored.prompt, scored.hard, first)["distance"]


@_faithfulness("agreement", "fraction", "higher", _unchanged)
def prediction_agreement(scored: ScoredPrompt) -> float:
    """Share of test examples with the same prediction under the soft prompt and its projection."""
    of_soft, of_hard = scored.scores("test").label_logits, scored.reading_scores.label_logits
    if of_soft is None or of_hard is None:
        return scored.compared(compare_next_tokens)["agreement"]
    return float(agreement(of_soft[0], of_hard[0]))


@_faithfulness("label_kl", "nats", "lower", _weakened)
def label_kl(scored: ScoredPrompt) -> float | None:
    """KL divergence of the soft prompt from its projection over the label words; only for classification."""
    of_soft, of_hard = scored.scores("test").label_logits, scored.reading_scores.label_logits
    return None if of_soft is None or of_hard is None else float(mean_kl(of_soft[0], of_hard[0]))


FAITHFULNESS = (
    distance_cosine,
    distance_euclidean,
    mean_output_gap,
    loss_gap,
    accuracy_gap,
    next_token_kl,
    behavioural_distance,
    prediction_agreement,
    label_kl,
)

IN_RECORDS = (
    "distance_cosine",
    "distance_euclidean",
    "output_gap",
    "loss_gap",
    "accuracy_gap",
    "agreement",
    "kl",
    "label_kl",
    "behavioural_distance",
)
"""Names in the order in which the record of a hard prompt has them."""
