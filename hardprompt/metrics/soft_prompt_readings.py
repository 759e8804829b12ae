"""All texts that can be read off one soft prompt, with their accuracy and the tasks that they ask for."""

from typing import Any

from torch import Tensor

from hardprompt.metrics.interpretation import TaskJudge
from hardprompt.metrics.stability import readings
from hardprompt.projection import SIMILARITY_MEASURES
from hardprompt.prompt import SoftPrompt
from hardprompt.scoring import Scorer

SECOND_NEAREST = "2nd nearest"


def soft_prompt_readings(
    prompt: SoftPrompt, scorer: Scorer, judge: TaskJudge, allowed: Tensor, seed: int = 0
) -> list[dict[str, Any]]:
    """The text that each method reads off a soft prompt, and the tasks that the text asks for.

    The methods are the closest tokens by cosine, Euclidean distance and dot product, the second closest by cosine, and the
    closest after small noise, in several draws (`hardprompt.metrics.stability`).

    Args:
        prompt: the soft prompt.
        scorer: scores examples of the task that the prompt solves.
        judge: finds out which tasks a text asks for.
        allowed: ids of the tokens that a text may consist of, (A,).
        seed: the seed of the noise.

    Returns:
        One entry per different text, in the order of the methods: `text`, `methods` (name to the share of its draws that give
        this text), `accuracy` (of the text on the scorer's examples, a fraction), and the keys of `Interpretation.as_json`:
        `outcome`, `tasks`, `lifts`, `reader_nats_per_token`, `readable_up_to`.

    Example:
        >>> import torch
        >>> from hardprompt import SoftPrompt, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> vectors = lm.vocab_embeds[lm.encode("give the plural")]
        >>> scorer, judge = Scorer(lm, task, task.dev), TaskJudge(lm, [task])
        >>> first = soft_prompt_readings(SoftPrompt(vectors), scorer, judge, torch.arange(len(lm.vocab_embeds)))[0]
        >>> first["text"], first["methods"]["cosine"], first["outcome"]
        ('give the plural', 1.0, 'faithful')
    """
    lm = scorer.lm
    found: dict[str, dict[str, float]] = {}
    for method, several in readings(prompt.embeds, lm.vocab_embeds[allowed], seed).items():
        if method not in SIMILARITY_MEASURES and method != SECOND_NEAREST and not method.startswith("noise"):
            continue
        for rows in several:
            shares = found.setdefault(lm.decode(allowed[rows].tolist()).strip(), {})
            shares[method] = shares.get(method, 0.0) + 1 / len(several)
    return [
        {"text": text, "methods": shares, "accuracy": float(scorer.score_text(text).accuracy)}
        | judge.interpret(text).as_json(scorer.task.name)
        for text, shares in found.items()
    ]
