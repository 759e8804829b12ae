"""The reader `self-description`: the model describes the vectors in its own words.

The vectors stand in a description prompt, such as "tell me the price = tell me the price, x x x =", in the place of its L
placeholders x, and the continuation is a text (InSPEcT, Ramati et al. 2024; Patchscopes, Ghandeharioun et al. 2024). With
s^l_i the output of layer l at vector i in a pass over the start tokens and the vectors, and s^0_i = p_i the vector itself, the
pass over the description prompt is changed at one layer k:

    t^k_i := s^l_i    for each placeholder i

where t^k is the output of layer k, and t^0 the input of the first layer. Several pairs (l, k) are used, among them (0, 0),
which inserts the vectors themselves. Continuations are decoded greedily and sampled, up to an end token or a line break.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from transformers import DynamicCache

from hardprompt.errors import LMError, TaskError
from hardprompt.lm.chat import ChatTemplate, marker_in
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.memory import layers_of
from hardprompt.optimizers.base import Config
from hardprompt.optimizers.proposals import draw_tokens
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.readings.base import reader
from hardprompt.readings.output_lens import needs_vectors_and_predictions
from hardprompt.readings.problem import ReadingProblem

TEXTS = (
    ("the name of this city = the name of this city\ntell me the price: = tell me the price:\n", " ="),
    ('"2 + 3" asks for the sum\n"good morning in french is" asks for the translation\n"', '" asks for'),
)
"""Description prompts as plain texts before and after the placeholders: one that repeats texts and one that explains them."""

QUESTIONS = (
    "Repeat the following instruction word for word, and write nothing else.",
    "What does the following instruction ask for? Answer with one short instruction, and write nothing else.",
)
"""The user's turn of description prompts for chat models. The placeholders follow in the next line."""

PLACEHOLDER = " x"


class SelfDescriptionConfig(Config):
    """Options of the self-description."""

    depths: PositiveInt = 4
    """Number of depths whose states are read and replaced: evenly spaced layers, of which the first is the input."""

    samples: NonNegativeInt = 1
    """Number of sampled continuations beside the greedy one, for each description prompt and pair of layers."""


@dataclass(frozen=True)
class DescriptionPrompt:
    """A description prompt.

    Attributes:
        before: token ids before the placeholders, with the start tokens.
        after: token ids after them.
        ends: token ids that end a description.
    """

    before: Sequence[int]
    after: Sequence[int]
    ends: Sequence[int]


def description_prompts(lm: FrozenLM) -> list[DescriptionPrompt]:
    """The description prompts of a model: two plain texts, and two chats if it has a chat template that renders them."""
    ends = lm.end_ids.tolist()
    found = [
        DescriptionPrompt([*lm.prefix_ids, *lm.encode(before)], lm.encode_after([after])[0], ends) for before, after in TEXTS
    ]
    if lm.tokenizer.chat_template:
        template = ChatTemplate("{input}\n{prompt}", lm)
        with suppress(TaskError):
            for question in QUESTIONS:
                before, after = template.around(question)
                of_chat = [*ends] if template.end_id is None else [*ends, template.end_id]
                found.append(DescriptionPrompt(lm.encode(before), lm.encode_after([after])[0], of_chat))
    return found


def layer_pairs(layers: int, depths: int) -> list[tuple[int, int]]:
    """Pairs (l, k) of a layer that is read and a layer that is replaced; (0, 0) first, and no other with l = 0.

    Args:
        layers: number of layers of the model.
        depths: number of evenly spaced depths.

    Example:
        >>> layer_pairs(30, 2)
        [(0, 0), (15, 0), (15, 15)]
    """
    chosen = sorted({depth * layers // depths for depth in range(depths)})
    return [(0, 0), *((read, replaced) for read in chosen[1:] for replaced in chosen)]


@torch.no_grad()
def layer_states(lm: FrozenLM, embeds: Tensor) -> Tensor:
    """The states of a pass: its input, and the output of each layer.

    Args:
        lm: a causal model of N layers.
        embeds: the input (T, d).

    Returns:
        States (N + 1, T, d).

    Raises:
        LMError: the layers of the model give no such states.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> layer_states(lm, lm.embed(torch.tensor(lm.encode("give the plural")))).shape
        torch.Size([5, 3, 160])
    """
    outputs: list[Any] = []
    hooks = [layer.register_forward_hook(lambda _, given, output: outputs.append(output)) for layer in layers_of(lm.model)]
    try:
        lm.hidden(embeds[None])
    finally:
        for hook in hooks:
            hook.remove()
    states = [output[0] if isinstance(output, tuple) else output for output in outputs]
    if len(states) != len(hooks) or any(getattr(each, "shape", ()) != (1, *embeds.shape) for each in states):
        raise LMError(f"the layers of {lm.name} give no states that can be replaced; use the reader output-lens")
    return torch.cat([embeds[None], *states])


def patched(
    lm: FrozenLM, run: Callable[[Tensor], Tensor], embeds: Tensor, start: int, states: Tensor, layers: Sequence[int]
) -> Tensor:
    """Run a pass in which the states at L positions are replaced, each row at a layer of its own.

    Args:
        lm: a causal model.
        run: the pass; it maps embeddings (B, T, d) to the result, and all B rows go through the model at once.
        embeds: the embeddings (B, T, d).
        start: the first of the L positions.
        states: the states in their place, (B, L, d).
        layers: for each row, the layer whose output is replaced; 0 for the input.

    Returns:
        The result of `run`.
    """
    at, span = torch.tensor(layers, device=embeds.device), slice(start, start + states.shape[1])

    def replaced(output: Tensor, layer: int) -> Tensor:
        changed = output.clone()
        changed[at == layer, span] = states[at == layer]
        return changed

    def hook_of(layer: int) -> Callable[[Any, Any, Any], Any]:
        def hook(module: Any, given: Any, output: Any) -> Any:
            return (replaced(output[0], layer), *output[1:]) if isinstance(output, tuple) else replaced(output, layer)

        return hook

    modules = layers_of(lm.model)
    hooks = [modules[layer - 1].register_forward_hook(hook_of(layer)) for layer in sorted({*layers} - {0})]
    try:
        return run(replaced(embeds, 0))
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def descriptions(
    problem: ReadingProblem, prompt: DescriptionPrompt, states: Tensor, pairs: Sequence[tuple[int, int]], samples: int
) -> list[str]:
    """The continuations of a description prompt, for each pair of layers a greedy one and samples, as texts of one line.

    Args:
        problem: the problem. Each continuation counts as the tokens of the description prompt, without the start tokens, and
            `problem.prompt_length` tokens. Its generator draws the samples.
        prompt: the description prompt.
        states: the states at the vectors after each layer, (N + 1, L, d).
        pairs: the pairs (l, k) of layers.
        samples: number of samples for each pair.
    """
    lm, length, steps = problem.lm, states.shape[1], problem.prompt_length
    pairs = [pair for pair in pairs for _ in range(1 + samples)]
    is_sample = torch.arange(len(pairs), device=lm.device) % (1 + samples) > 0
    ids = [*prompt.before, *([lm.encode_after([PLACEHOLDER])[0][-1]] * length), *prompt.after]
    embeds = lm.embed(torch.tensor(ids, device=lm.device)).expand(len(pairs), -1, -1)
    problem.counter.forward += len(pairs) * (len(ids) - len(lm.prefix_ids) + steps)
    source = states[[read for read, _ in pairs]]
    layers = [replaced for _, replaced in pairs]
    ends = torch.tensor(prompt.ends, device=lm.device)
    words = problem.allowed[~torch.isin(problem.allowed, ends)]
    choices = torch.cat([words, ends])
    cached = lm.shares_prefixes and len(ids) + steps <= lm.rules.shared
    cache = DynamicCache()
    drawn = torch.empty(len(pairs), 0, dtype=torch.long, device=lm.device)
    for step in range(steps):
        if cached and step:
            features = lm.grown(lm.embed(drawn[:, -1:]), cache)
        else:
            run = (lambda read: lm.grown(read, cache)) if cached else lm.hidden
            features = patched(lm, run, torch.cat([embeds, lm.embed(drawn)], 1), len(prompt.before), source, layers)
        some = choices if step else words  # no description is empty
        logits = lm.output_logits(features[:, -1], some)
        token = torch.where(is_sample, draw_tokens(logits, 1, problem.generator)[:, 0], logits.argmax(-1))
        drawn = torch.cat([drawn, some[token][:, None]], 1)
    texts = []
    for row in drawn.tolist():
        end = next((place for place, token in enumerate(row) if token in prompt.ends), steps)
        texts.append(lm.decode(row[:end]).strip().split("\n")[0].strip())
    return texts


@reader("self-description", SelfDescriptionConfig, check=needs_vectors_and_predictions)
def self_description(problem: ReadingProblem, config: SelfDescriptionConfig) -> list[list[int]]:
    """Texts by which the model itself describes the vectors, whose states replace those of placeholders."""
    assert isinstance(problem.target, SoftPrompt)
    lm = problem.lm
    vectors = problem.target.embeds.to(lm.vocab_embeds.dtype)
    start = lm.embed(torch.tensor(lm.prefix_ids, dtype=torch.long, device=lm.device))
    states = layer_states(lm, torch.cat([start, vectors]))[:, len(start) :]
    problem.counter.forward += len(vectors)
    pairs, allowed = layer_pairs(len(states) - 1, config.depths), set(problem.allowed.tolist())
    prompts = description_prompts(lm)
    found: list[list[int]] = []
    for number, prompt in enumerate(prompts, 1):
        texts = descriptions(problem, prompt, states, pairs, config.samples)
        clean = [text for text in dict.fromkeys(texts) if not marker_in(lm, problem.template, text)]
        read = [HardPrompt.from_text(lm, text, problem.template).ids[: problem.prompt_length] for text in clean]
        new = [list(ids) for ids in dict.fromkeys(read) if ids and allowed.issuperset(ids) and list(ids) not in found]
        if new:
            problem.score_on_dev(new)
        found += new
        problem.note(number / len(prompts))
        if problem.exhausted:
            break
    return found
