"""Does the projection of a soft prompt do what the soft prompt does? Patel et al. (2025), section 3, and two measures beside.

A hard prompt is its own projection, so all of these are zero by construction for it; records hold null with the reason.
"""

from jaxtyping import Float
from torch import Tensor

from hardprompt.optimizers.projection import closeness, nearest
from hardprompt.prompt import SoftPrompt
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
)
NOT_FOR_HARD = "a hard prompt is its own projection: zero by construction"


def faithfulness(scorer: Scorer, soft: SoftPrompt, allowed: Tensor, measure: str = "cosine") -> dict[str, float]:
    """Patel's three gaps, prediction agreement and KL between a soft prompt and its projection.

    Args:
        scorer: the examples to compare on.
        soft: the soft prompt.
        allowed: token ids it may project to, (A,).
        measure: of the projection.

    Returns:
        By name: `distance_cosine` and `distance_euclidean` (mean over positions of the distance to the closest allowed token),
        `output_gap` (mean squared difference of the logits over examples and vocabulary, at the answer's first token),
        `loss_gap` (nats per example, absolute), `accuracy_gap` (soft minus projection, signed), `agreement` (share of examples
        with the same prediction), `kl` (nats, KL of the soft prompt's next-token distribution from the projection's, mean over
        examples), and for classification `label_kl` (the same over the label words).
    """
    vocab = scorer.lm.vocab_embeds[allowed].float()
    embeds = soft.embeds.float()
    ids = projection_ids(soft, scorer.lm.vocab_embeds, allowed, measure)
    of_soft, of_hard = scorer.score_embeds(embeds), scorer.score_ids([ids])
    soft_logits, hard_logits = scorer.next_token_logits(embeds).float(), scorer.next_token_logits(ids).float()
    values = {
        "distance_cosine": float(distance_gap(embeds, vocab, "cosine")),
        "distance_euclidean": float(distance_gap(embeds, vocab, "euclidean")),
        "output_gap": float(output_gap(soft_logits, hard_logits)),
        "loss_gap": float((of_soft.loss.mean() - of_hard.loss.mean()).abs()),
        "accuracy_gap": float(of_soft.correct.float().mean() - of_hard.correct.float().mean()),
        "kl": float(mean_kl(soft_logits, hard_logits)),
    }
    if of_soft.label_logits is None or of_hard.label_logits is None:
        return values | {"agreement": float(agreement(soft_logits, hard_logits))}
    soft_labels, hard_labels = of_soft.label_logits[0], of_hard.label_logits[0]
    return values | {
        "agreement": float(agreement(soft_labels, hard_labels)),
        "label_kl": float(mean_kl(soft_labels, hard_labels)),
    }


def distance_gap(embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "A d"], measure: str) -> Float[Tensor, ""]:
    """Delta_D = 1/L sum_i min_y D(f_V(y), P_i), with D = 1 - cosine or the Euclidean distance."""
    closest = closeness(embeds, vocab, measure).amax(-1)
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
