"""Does a reading of a soft prompt do what the soft prompt does? Patel et al. (2025), section 3, and measures beside.

A reading is the projection, or any text of as many tokens that somebody proposes.

A hard prompt is its own projection, so all of these are zero by construction for it; records hold null with the reason.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import RequestError
from hardprompt.metrics.continuation_kl import continuation_kl
from hardprompt.projection import nearest, similarity
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.scoring import Scorer

FAITHFULNESS = (
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
NOT_FOR_HARD = "a hard prompt is its own projection: zero by construction"


BEHAVED = 32
"""Examples on whose continuations prompts are compared; each is sampled token by token."""


def faithfulness(
    scorer: Scorer, soft: SoftPrompt, allowed: Tensor, measure: str = "cosine", reading: Sequence[int] | None = None
) -> dict[str, float]:
    """Patel's three gaps, prediction agreement, KL and behavioural distance between a soft prompt and a reading of it.

    Args:
        scorer: the examples to compare on.
        soft: the soft prompt, (L, d).
        allowed: token ids it may project to, (A,).
        measure: of the projection.
        reading: token ids (L,) that are proposed as what it says; by default its projection.

    Returns:
        By name: `distance_cosine` and `distance_euclidean` (mean over positions of the distance to the closest allowed token,
        or to the proposed one), `output_gap` (mean squared difference of the logits over examples and vocabulary, at the
        answer's first token), `loss_gap` (nats per example, absolute), `accuracy_gap` (soft minus reading, signed),
        `agreement` (share of examples with the same prediction), `kl` (nats, KL of the soft prompt's next-token distribution
        from the reading's, mean over examples), for classification `label_kl` (the same over the label words), and
        `behavioural_distance` (nats per continuation of the first examples, `hardprompt.metrics.continuation_kl`).

    Raises:
        RequestError: a reading that is longer or shorter than the prompt, or a prompt with another model's embeddings.
    """
    as_prompt(scorer.lm, soft)
    embeds = soft.embeds.float()
    if reading is not None and len(reading) != len(embeds):
        raise RequestError(f"a reading of {len(reading)} tokens for a prompt of {len(embeds)}; propose one token per vector")
    ids = projection_ids(soft, scorer.lm.vocab_embeds, allowed, measure) if reading is None else list(reading)
    near = scorer.lm.vocab_embeds[allowed].float() if reading is None else None
    its = scorer.lm.vocab_embeds[ids].float()
    of_soft, of_hard = scorer.score_embeds(embeds), scorer.score_ids([ids])
    of_output = _by_block(scorer, embeds, ids)
    some = Scorer(scorer.lm, scorer.task, scorer.examples[:BEHAVED], scorer.counter)
    values = {
        f"distance_{kind}": float(reading_gap(embeds, its, kind) if near is None else distance_gap(embeds, near, kind))
        for kind in ("cosine", "euclidean")
    } | {
        "output_gap": of_output["output_gap"],
        "loss_gap": float((of_soft.mean_loss - of_hard.mean_loss).abs()),
        "accuracy_gap": float(of_soft.accuracy - of_hard.accuracy),
        "kl": of_output["kl"],
        "behavioural_distance": continuation_kl(soft, HardPrompt.from_ids(scorer.lm, ids), some)["distance"],
    }
    if of_soft.label_logits is None or of_hard.label_logits is None:
        return values | {"agreement": of_output["agreement"]}
    soft_labels, hard_labels = of_soft.label_logits[0], of_hard.label_logits[0]
    return values | {
        "agreement": float(agreement(soft_labels, hard_labels)),
        "label_kl": float(mean_kl(soft_labels, hard_labels)),
    }


def _by_block(scorer: Scorer, embeds: Tensor, ids: Sequence[int]) -> dict[str, float]:
    """What compares logits over the vocabulary, in blocks of examples whose logits fit into memory."""
    measures = {"output_gap": output_gap, "kl": mean_kl, "agreement": agreement}
    count = len(scorer.examples)
    at_once = scorer.lm.memory.rows(4 * scorer.lm.footprint.logits)
    totals = dict.fromkeys(measures, 0.0)
    for first in range(0, count, at_once):
        block = range(first, min(first + at_once, count))
        of_soft, of_hard = (scorer.next_token_logits(prompt, block).float() for prompt in (embeds, ids))
        for name, measure in measures.items():
            totals[name] += len(block) / count * float(measure(of_soft, of_hard))
    return totals


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

    The paper leaves open which positions are meant; here it is the answer's first token. Logits carry an arbitrary additive
    constant, which this measure sees and `mean_kl` does not.
    """
    return (logits - other).square().mean()


def mean_kl(logits: Float[Tensor, "N C"], other: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Mean over examples of KL(softmax(logits) || softmax(other)), in nats."""
    log_p, log_q = logits.log_softmax(-1), other.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def agreement(logits: Float[Tensor, "N C"], other: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Share of examples on which both have the same most probable entry."""
    return (logits.argmax(-1) == other.argmax(-1)).float().mean()


def projection_ids(soft: SoftPrompt, vocab_embeds: Tensor, allowed: Tensor, measure: str = "cosine") -> list[int]:
    """Token ids of the projection of a soft prompt onto the allowed tokens."""
    return allowed[nearest(soft.embeds.float(), vocab_embeds[allowed].float(), measure)].tolist()
