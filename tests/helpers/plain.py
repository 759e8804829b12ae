"""A slow and simple reference for scores: one pair at a time, with the tokenizer, logits and loss of Hugging Face."""

import torch

from hardprompt.data.task import Example, Task
from hardprompt.lm import FrozenLM


def sequence(lm: FrozenLM, task: Task, example: Example, prompt: list[int]) -> list[int]:
    """The tokens that a causal model reads before the answer."""
    before, after = task.template.around(example.input)
    start = [] if lm.bos_id is None else [lm.bos_id]
    anchored = lm.encode("a" + after)[len(lm.encode("a")) :] if before or prompt else lm.encode(after)
    return start + lm.encode(before) + prompt + anchored


def plain_score(lm: FrozenLM, task: Task, example: Example, prompt: list[int]) -> tuple[float, bool]:
    """The loss of one pair of prompt and example, and whether the answer is correct."""
    if lm.masked:
        return _filled_in(lm, task, example, lm.decode(prompt))
    return _labelled(lm, task, example, prompt) if task.label_words else _generated(lm, task, example, prompt)


@torch.no_grad()
def plain_nll(lm: FrozenLM, ids: list[int]) -> float:
    """Log-perplexity of a prompt: the loss of a causal model, or the mean loss with one token masked at a time."""
    if not lm.masked:
        fed = torch.tensor([[*([] if lm.bos_id is None else [lm.bos_id]), *ids]])
        return float(lm.model(input_ids=fed, labels=fed).loss)
    first, *_, last = lm.tokenizer("")["input_ids"]
    whole = [first, *ids, last]
    total = 0.0
    for t in range(len(lm.prefix_ids), len(lm.prefix_ids) + len(ids)):
        fed = torch.tensor([whole])
        fed[0, t] = lm.tokenizer.mask_token_id
        total -= float(lm.model(input_ids=fed).logits[0, t].log_softmax(-1)[whole[t]])
    return total / len(ids)


def _verdict(words: torch.Tensor, gold: int) -> tuple[float, bool]:
    return float(-words.log_softmax(-1)[gold]), int(words.argmax()) == gold


@torch.no_grad()
def _filled_in(lm: FrozenLM, task: Task, example: Example, prompt: str) -> tuple[float, bool]:
    """Score the label words at the mask; the token of a label word is the one in the text with that word filled in."""
    tokenizer = lm.tokenizer
    text = task.template_for(masked=True).text.replace("{prompt}", prompt).replace("{input}", example.input)
    text = text.replace("  ", " ").rstrip(" ")
    ids = tokenizer(text.replace("{mask}", tokenizer.mask_token))["input_ids"]
    at = ids.index(tokenizer.mask_token_id)
    words = [tokenizer(text.replace("{mask}", word))["input_ids"][at] for word in task.label_words.values()]
    logits = lm.model(input_ids=torch.tensor([ids])).logits[0, at]
    return _verdict(logits[words], task.labels.index(example.answer))


@torch.no_grad()
def _labelled(lm: FrozenLM, task: Task, example: Example, prompt: list[int]) -> tuple[float, bool]:
    logits = lm.model(input_ids=torch.tensor([sequence(lm, task, example, prompt)])).logits[0, -1]
    words = [lm.encode("a " + word)[-1] for word in task.label_words.values()]
    return _verdict(logits[words], task.labels.index(example.answer))


@torch.no_grad()
def _generated(lm: FrozenLM, task: Task, example: Example, prompt: list[int]) -> tuple[float, bool]:
    ids = sequence(lm, task, example, prompt)
    answer = lm.encode("a " + example.answer)[len(lm.encode("a")) :]
    log_probs = lm.model(input_ids=torch.tensor([ids + answer])).logits[0, len(ids) - 1 :].log_softmax(-1)
    loss = -sum(float(log_probs[t, token]) for t, token in enumerate(answer))
    if task.match == "exact":
        loss -= float(log_probs[len(answer), lm.end_ids].logsumexp(-1))
    made, line = list(ids), ""
    while len(made) < lm.max_length and example.answer.startswith(line):
        made.append(int(lm.model(input_ids=torch.tensor([made])).logits[0, -1].argmax()))
        text = lm.decode(made[len(ids) :]).lstrip(" ")
        line = text.split("\n")[0].strip()
        if made[-1] in lm.end_ids.tolist() or "\n" in text:
            break
    return loss, line == example.answer if task.match == "exact" else line.startswith(example.answer)
