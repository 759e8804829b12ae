"""The reader `self-description`: the model describes the vectors in its own words.

The vectors stand in a description prompt, such as "count the words: = count the words:, x x x =", in the place of its L
placeholders x, and the continuation is a text (InSPEcT, Ramati et al. 2024; Patchscopes, Ghandeharioun et al. 2024). With
s^l_i the output of layer l at vector i in a pass over the start tokens and the vectors, and s^0_i = p_i the vector itself, the
pass over the description prompt is changed at one layer k:

    t^k_i := s^l_i    for each placeholder i

where t^k is the output of layer k, and t^0 the input of the first layer. Several pairs (l, k) are used, among them (0, 0),
which inserts the vectors themselves. Continuations are decoded greedily and sampled, up to an end token or a line break. Those
with the lowest KL divergence on some inputs, and the best of their beginnings, are scored on all inputs.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from transformers import DynamicCache

from hardprompt.errors import LMError, RequestError, TaskError
from hardprompt.lm.chat import ChatTemplate, marker_in
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.memory import layers_of
from hardprompt.optimizers.base import Config, FinalPrompts
from hardprompt.optimizers.proposals import draw_tokens
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.readings.base import reader
from hardprompt.readings.output_lens import needs_vectors_and_predictions
from hardprompt.readings.problem import ReadingProblem

TEXTS = (
    ("count the words: = count the words:\nthe owner of the shop is = the owner of the shop is\n", " ="),
    ('"2 + 3 =" asks for: the sum\n"the owner of the shop is" asks for: the name of the owner\n"', '" asks for:'),
)
"""Description prompts as plain texts before and after the placeholders: one that repeats texts and one that explains them."""

QUESTIONS = ("Repeat the following instruction word for word, and write nothing else.", "Say this in other words:")
"""The user's turn of description prompts for chat models. The placeholders follow in the next line."""

PLACEHOLDER = " x"

TEMPERATURE = 0.7
"""Temperature of samples."""


class SelfDescriptionConfig(Config):
    """Options of the self-description."""

    depths: PositiveInt = 4
    """Number of evenly spaced layers whose states at the vectors are read."""

    samples: NonNegativeInt = 1
    """Number of sampled continuations beside the greedy one, for each description prompt and pair of layers."""

    batch_size: PositiveInt = 4
    """Number of train examples on which all texts are scored first."""

    kept: PositiveInt = 6
    """Number of texts of each description prompt, those with the lowest KL divergence, that are scored on all inputs."""


@dataclass(frozen=True)
class DescriptionPrompt:
    """A description prompt.

    Attributes:
        before: token ids before the placeholders, with the start tokens.
        after: token ids after them.
        ends: token ids that end a description.
        chat: whether it is a chat, which has no start tokens.
    """

    before: Sequence[int]
    after: Sequence[int]
    ends: Sequence[int]
    chat: bool = False


def description_prompts(lm: FrozenLM, tokens: int) -> list[DescriptionPrompt]:
    """The description prompts of a model: two plain texts, and two chats if it has a chat template that renders them.

    Args:
        lm: a causal model.
        tokens: number of tokens that must fit into its context besides a description prompt. A longer one is left out.
    """
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
                found.append(DescriptionPrompt(lm.encode(before), lm.encode_after([after])[0], of_chat, chat=True))
    return [prompt for prompt in found if len(prompt.before) + len(prompt.after) + tokens <= lm.max_length]


def _can_describe(problem: ReadingProblem, config: SelfDescriptionConfig) -> None:
    """Raise RequestError for a hard prompt, or a model that is not causal, reads no batches or has too short a context."""
    needs_vectors_and_predictions(problem, config)
    if not problem.lm.rules.batches:
        raise RequestError(f"{problem.lm.name} cannot read several description prompts at once; use the reader output-lens")
    if not _prompts_of(problem):
        raise RequestError(
            f"no description prompt fits into the context of {problem.lm.name}, which is {problem.lm.max_length} tokens; "
            "use the reader output-lens"
        )


def _prompts_of(problem: ReadingProblem) -> list[DescriptionPrompt]:
    return description_prompts(problem.lm, len(problem.target_tokens) + problem.prompt_length)


def layer_pairs(layers: int, depths: int) -> list[tuple[int, int]]:
    """Pairs (l, k) of a layer that is read and a layer that is replaced; (0, 0) first.

    States are put in at an early layer, after 1/15 or 1/4 of all. Later, the model has read the placeholders themselves, and
    descriptions hardly depend on the vectors.

    Args:
        layers: number of layers of the model.
        depths: number of layers that are read, evenly spaced from the first one on.

    Example:
        >>> layer_pairs(30, 2)
        [(0, 0), (1, 2), (1, 7), (15, 2), (15, 7)]
    """
    read = sorted({max(1, depth * layers // depths) for depth in range(depths)})
    replaced = sorted({max(1, layers // 15), max(1, layers // 4)})
    return [(0, 0), *((source, target) for source in read for target in replaced)]


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
    problem.counter.forward += len(pairs) * (len(ids) - (0 if prompt.chat else len(lm.prefix_ids)) + steps)
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
        token = torch.where(is_sample, draw_tokens(logits / TEMPERATURE, 1, problem.generator)[:, 0], logits.argmax(-1))
        drawn = torch.cat([drawn, some[token][:, None]], 1)
    texts = []
    for row in drawn.tolist():
        end = next((place for place, token in enumerate(row) if token in prompt.ends), steps)
        texts.append(lm.decode(row[:end]).strip().split("\n")[0].strip())
    return texts


def best_texts(problem: ReadingProblem, texts: Sequence[str], examples: Sequence[int], count: int) -> list[str]:
    """The `count` texts with the lowest objective on some train examples, in the tokenization in which they will be read.

    Texts that are too long, or that have tokens that are not allowed or mark a turn of a chat, are left out.
    """
    lm, template, allowed = problem.lm, problem.template, set(problem.allowed.tolist())
    ids = {text: HardPrompt.from_text(lm, text, template).ids for text in texts if not marker_in(lm, template, text)}
    usable = [text for text, its in ids.items() if 0 < len(its) <= problem.prompt_length and allowed.issuperset(its)]
    if len(usable) <= count:
        return usable
    totals = problem.objective([ids[text] for text in usable], examples).total
    return [usable[i] for i in totals.argsort(stable=True)[:count].tolist()]


def beginnings(texts: Sequence[str]) -> list[str]:
    """All texts and their beginnings at blanks, without repetitions.

    A description goes on to what the prompt makes the model say, as in "the capital is Paris"; its beginning does not.

    Example:
        >>> beginnings(["the capital is", "the city"])
        ['the', 'the capital', 'the capital is', 'the city']
    """
    words = [text.split(" ") for text in texts]
    return list(dict.fromkeys(" ".join(each[:count]) for each in words for count in range(1, len(each) + 1)))


@reader("self-description", SelfDescriptionConfig, check=_can_describe)
def self_description(problem: ReadingProblem, config: SelfDescriptionConfig) -> FinalPrompts:
    """Texts by which the model itself describes the vectors, whose states replace those of placeholders."""
    assert isinstance(problem.target, SoftPrompt)
    lm = problem.lm
    vectors = problem.target.embeds.to(lm.vocab_embeds.dtype)
    start = lm.embed(torch.tensor(lm.prefix_ids, dtype=torch.long, device=lm.device))
    states = layer_states(lm, torch.cat([start, vectors]))[:, len(start) :]
    problem.counter.forward += len(vectors)
    pairs = layer_pairs(len(states) - 1, config.depths)
    prompts, examples = _prompts_of(problem), problem.batch(config.batch_size)
    for number, prompt in enumerate(prompts, 1):
        texts = list(dict.fromkeys(descriptions(problem, prompt, states, pairs, config.samples)))
        best = best_texts(problem, texts, examples, config.kept)
        best = best_texts(problem, beginnings(best), examples, config.kept)
        found = {HardPrompt.from_text(lm, text, problem.template).ids: None for text in best}
        known = {candidate.prompt.ids for candidate in problem.candidates if isinstance(candidate.prompt, HardPrompt)}
        if new := [ids for ids in found if ids not in known]:
            problem.score_on_dev(new)
        problem.note(number / len(prompts))
        if problem.exhausted:
            break
    return []
