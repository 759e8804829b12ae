"""Analysis of the vectors of trained soft prompts: the tables of Bakalova (2024), and which of its findings hold.

Distances are cosine distances (1 - cosine) or Euclidean distances in embedding units. The control group `random tokens` has as
many tokens as there are soft vectors, drawn from the vocabulary; every figure for soft vectors is also given for them.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hardprompt.data.task import SPLITS, Task
from hardprompt.errors import RequestError
from hardprompt.experiments.geometry.record import Trained
from hardprompt.lm import FrozenLM
from hardprompt.metrics.geometry import (
    DISTANCES,
    EPSILONS,
    Neighbours,
    correlation_interval,
    correlations,
    crossed_interval,
    distances,
    mean_distance,
    mean_distance_by,
    mean_to_group,
    neighbour_counts,
    neighbours,
    pair_groups,
    per_prompt,
    task_distances,
    vector_distances,
)
from hardprompt.metrics.token_kinds import KINDS, token_kind, vocabulary_kinds
from hardprompt.metrics.tokens import token_text
from hardprompt.stats.estimate import Estimate, verdict

Found = dict[str, Any]

NEAREST = 5
"""Number of closest tokens that are listed for every vector."""

PUBLISHED_CORRELATION = 0.742

UNRELATED = 0.02
"""Largest excess in the share of related neighbours, of a prompt's own task over other tasks, that counts as unrelated."""

NOTHING = Estimate(math.nan, math.nan, math.nan, tasks=0, n=0)


class PromptVectors:
    """Vectors of soft prompts of one length, by task and initial word, in the embedding space of one model.

    Args:
        prompts: soft prompts that have a task and a word; of several with the same task and word the last one is used.
        lm: the model that they were trained for.
        seed: the seed of the random tokens.

    Raises:
        RequestError: there are no prompts, a prompt has no task or word, or lengths or widths do not fit.
    """

    def __init__(self, prompts: Sequence[Trained], lm: FrozenLM, seed: int = 0) -> None:
        self.prompts = list({(each.task, each.word): each for each in prompts}.values())
        if not self.prompts or any(each.task is None or each.word is None for each in self.prompts):
            raise RequestError("the analysis needs at least one soft prompt, and a task and an initial word for each")
        for each in self.prompts:
            check_fit(each, lm)
        lengths = {len(each.embeds) for each in self.prompts}
        if len(lengths) > 1:
            raise RequestError(f"soft prompts of {' and '.join(map(str, sorted(lengths)))} vectors; give prompts of one length")
        [self.length] = lengths
        self.lm = lm
        self.tasks = list(dict.fromkeys(str(each.task) for each in self.prompts))
        self.words = list(dict.fromkeys(str(each.word) for each in self.prompts))
        # The analysis computes in float64, which MPS lacks.
        self._device = torch.device("cpu") if lm.device.type == "mps" else lm.device
        self.vectors = torch.cat([each.embeds.to(self._device) for each in self.prompts])
        self.task = self._labels([self.tasks.index(str(each.task)) for each in self.prompts])
        self.word = self._labels([self.words.index(str(each.word)) for each in self.prompts])
        self.position = torch.arange(self.length, device=self._device).repeat(len(self.prompts))
        self.vocab = lm.vocab_embeds.float().to(self._device)
        special = torch.tensor(sorted(set(lm.tokenizer.all_special_ids)), dtype=torch.long)
        plain = torch.ones(len(self.vocab), dtype=torch.bool)
        plain[special[special < len(plain)]] = False
        drawn = torch.randperm(int(plain.sum()), generator=torch.Generator().manual_seed(seed))[: len(self.vectors)]
        self.random = plain.nonzero().flatten()[drawn].to(self._device)

    @property
    def grid(self) -> Tensor | None:
        """Vectors of the words that have a prompt for every task, (T, W, L, d); None with fewer than 3 tasks or 2 words."""
        count = Counter(str(each.word) for each in self.prompts)
        whole = [word for word in self.words if count[word] == len(self.tasks)]
        if len(whole) < 2 or len(self.tasks) < 3:
            return None
        place = {(each.task, each.word): each.embeds for each in self.prompts}
        return torch.stack([torch.stack([place[task, word] for word in whole]) for task in self.tasks]).to(self._device)

    def _labels(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, device=self._device).repeat_interleave(self.length)


def check_fit(prompt: Trained, lm: FrozenLM) -> None:
    """Check that the vectors of a prompt are (L, d) with the width d of the model, and finite.

    Raises:
        RequestError: they are not.
    """
    shape, width = tuple(prompt.embeds.shape), lm.vocab_embeds.shape[1]
    if len(shape) != 2 or shape[0] == 0 or shape[1] != width:
        raise RequestError(
            f"{prompt.source}: a soft prompt of shape {shape} does not fit {lm.name}, whose embeddings are {width} wide"
        )
    if not prompt.embeds.isfinite().all():
        raise RequestError(f"{prompt.source}: the soft prompt has a number that is not finite")


def analyze_vectors(
    prompts: Sequence[Trained], lm: FrozenLM, tasks: Sequence[Task] = (), seed: int = 0, added: Sequence[Trained] = ()
) -> Found:
    """Tables and findings about the vectors of trained soft prompts.

    Args:
        prompts: the soft prompts, one per task and word.
        lm: the model that they were trained for.
        tasks: the tasks of the prompts, whose words decide whether a neighbouring token is related; without them the finding
            `unrelated` is undecided.
        seed: the seed of the random tokens and of the bootstrap.
        added: prompts trained elsewhere, of any length, that are compared with these.

    Returns:
        `tasks`, `words`, `length`, `vectors`, `random_tokens`; `distances` by measure (groups of pairs, by word, by task, by
        position, against random tokens; `with_self_pairs` is the published variant); `neighbourhoods`, a row per epsilon and
        kind of vector; `closest`; `correlations` (by measure and sequence); `nearest`, a row per vector with its closest
        tokens; `kinds`, the shares of their categories; `added`; and `findings`.

    Raises:
        RequestError: the prompts do not fit the model or each other.
    """
    soft = PromptVectors(prompts, lm, seed)
    for each in added:
        check_fit(each, lm)
    around = neighbours(soft.vectors, soft.vocab, count=NEAREST)
    nearest = _nearest(soft, around)
    return {
        "lm": lm.name,
        "tasks": soft.tasks,
        "words": soft.words,
        "length": soft.length,
        "vectors": len(soft.vectors),
        "random_tokens": len(soft.random),
        "vocabulary": len(soft.vocab),
        "distances": {measure: _distances(soft, measure) for measure in DISTANCES},
        "neighbourhoods": _neighbourhoods(soft, around),
        "closest": _closest(soft, around),
        "correlations": _correlations(soft),
        "nearest": nearest,
        "kinds": _kinds(soft, nearest),
        "added": [_added(each, soft) for each in added],
        "findings": findings(soft, around, tasks, seed),
    }


def _distances(soft: PromptVectors, measure: str) -> Found:
    between = distances(soft.vectors, soft.vectors, measure)
    random = soft.vocab[soft.random]
    groups = pair_groups(soft.task, soft.word, soft.position)
    among = distances(random, random, measure)
    labelled = {"by_word": (soft.words, soft.word), "by_task": (soft.tasks, soft.task)}
    labelled["by_position"] = ([str(number + 1) for number in range(soft.length)], soft.position)
    return {
        "groups": {
            name: {"mean": mean_distance(between, is_pair), "with_self_pairs": mean_distance(between, is_pair, self_pairs=True)}
            for name, is_pair in groups.items()
        },
        "random_tokens": mean_distance(among, torch.ones_like(among).bool()),
        "to_random_tokens": float(distances(soft.vectors, random, measure).mean()),
        **{
            name: [
                {"label": label, "mean": mean, "with_self_pairs": whole}
                for label, mean, whole in zip(
                    labels, mean_distance_by(between, of), mean_distance_by(between, of, self_pairs=True), strict=True
                )
            ]
            for name, (labels, of) in labelled.items()
        },
    }


def _neighbourhoods(soft: PromptVectors, around: Neighbours) -> list[Found]:
    """Table 3: mean numbers of neighbours of soft vectors and of random tokens, with and without self-pairs."""
    between = distances(soft.vectors, soft.vectors)
    groups = pair_groups(soft.task, soft.word, soft.position)
    random = soft.vocab[soft.random]
    to_vocab = neighbours(random, soft.vocab, own=soft.random).within.double().mean(-1)
    to_soft = neighbours(random, soft.vectors).within.double().mean(-1)
    rows = []
    for number, epsilon in enumerate(EPSILONS):
        for self_pairs in (False, True):
            counts = {
                name: float(neighbour_counts(between, groups[name], epsilon, self_pairs).double().mean())
                for name in ("all", "same word", "same task", "same position")
            }
            of_soft = {"vocabulary": float(around.within[number].double().mean()), "soft": counts.pop("all")}
            of_random = {"vocabulary": float(to_vocab[number]) + self_pairs, "soft": float(to_soft[number])}
            for kind, found, more in (("soft", of_soft, counts), ("random token", of_random, dict.fromkeys(counts))):
                total = {"neighbours": sum(found.values())}
                named = {name.replace(" ", "_"): value for name, value in more.items()}
                rows.append({"epsilon": epsilon, "self_pairs": self_pairs, "of": kind} | total | found | named)
    return rows


def _closest(soft: PromptVectors, around: Neighbours) -> Found:
    """Mean distance to the closest token, and to the closest token or other soft vector."""
    random = soft.vocab[soft.random]
    tokens = neighbours(random, soft.vocab, count=1, own=soft.random).distances[:, 0]
    nearest_soft = _to_soft(soft)
    token = around.distances[:, 0]
    return {
        "soft": {
            "token": float(token.mean()),
            "any": float(torch.minimum(token, nearest_soft).mean()),
            "without_token_within": {str(epsilon): int((token >= epsilon).sum()) for epsilon in EPSILONS},
        },
        "random_token": {
            "token": float(tokens.mean()),
            "any": float(torch.minimum(tokens, neighbours(random, soft.vectors, count=1).distances[:, 0]).mean()),
            "without_token_within": {str(epsilon): int((tokens >= epsilon).sum()) for epsilon in EPSILONS},
        },
    }


def _to_soft(soft: PromptVectors) -> Tensor:
    """Distance of each soft vector to the closest other soft vector; infinite if there is only one."""
    own = torch.arange(len(soft.vectors), device=soft.vectors.device)
    return neighbours(soft.vectors, soft.vectors, count=1, own=own).distances[:, 0]


def _correlations(soft: PromptVectors) -> Found | None:
    """Pearson correlation between words of the distances between their prompts; None with fewer than 3 tasks or 2 words."""
    if soft.grid is None:
        return None
    found: Found = {}
    for measure in DISTANCES:
        for name, sequences in (
            ("prompts", task_distances(soft.grid, measure)),
            ("vectors", vector_distances(soft.grid, measure)),
        ):
            table = correlations(sequences)
            one, other = torch.triu_indices(len(table), len(table), 1)
            pairs = table[one, other]
            found.setdefault(measure, {})[name] = {
                "length": sequences.shape[1],
                "mean": _number(pairs.nanmean()),
                "least": _number(pairs[~pairs.isnan()].min()) if not pairs.isnan().all() else None,
                "table": [[_number(value) for value in row] for row in table],
            }
    return found


def _nearest(soft: PromptVectors, around: Neighbours) -> list[Found]:
    rows = []
    kinds = _KindOf(soft.lm)
    for number, (values, tokens) in enumerate(zip(around.distances.tolist(), around.rows.tolist(), strict=True)):
        prompt = soft.prompts[number // soft.length]
        rows.append(
            {
                "task": prompt.task,
                "word": prompt.word,
                "position": number % soft.length + 1,
                "tokens": [
                    {
                        "id": token,
                        "token": token_text(soft.lm, token),
                        "distance": value,
                        "kind": kinds(token, str(prompt.word)),
                    }
                    for token, value in zip(tokens, values, strict=True)
                ],
            }
        )
    return rows


class _KindOf:
    def __init__(self, lm: FrozenLM) -> None:
        self.lm, self.special = lm, set(lm.tokenizer.all_special_ids)

    def __call__(self, token: int, word: str) -> str:
        piece = str(self.lm.tokenizer.convert_ids_to_tokens(token))
        return token_kind(self.lm.decode([token]), piece, word, token in self.special)


def _kinds(soft: PromptVectors, nearest: Sequence[Found]) -> Found:
    """Shares of the token categories among the closest token of each vector, all listed tokens, and the whole vocabulary."""

    def shares(kinds: Sequence[str]) -> dict[str, float]:
        return {kind: kinds.count(kind) / len(kinds) for kind in KINDS}

    return {
        "closest": shares([row["tokens"][0]["kind"] for row in nearest]),
        "nearest": shares([token["kind"] for row in nearest for token in row["tokens"]]),
        "vocabulary": shares(vocabulary_kinds(soft.lm)),
    }


def _added(prompt: Trained, soft: PromptVectors) -> Found:
    """Closest tokens of a prompt trained elsewhere, and its mean cosine distances to the vectors of each word and task."""
    kinds = _KindOf(soft.lm)
    vectors = prompt.embeds.to(soft.vectors.device)
    around = neighbours(vectors, soft.vocab, count=NEAREST)
    between = distances(vectors, soft.vectors)
    return {
        "source": prompt.source,
        "task": prompt.task,
        "word": prompt.word,
        "closest_token": float(around.distances[:, 0].mean()),
        "closest_soft": float(between.min(-1).values.mean()),
        "to_all": float(between.mean()),
        "to_word": {word: float(between[:, soft.word == number].mean()) for number, word in enumerate(soft.words)},
        "to_task": {task: float(between[:, soft.task == number].mean()) for number, task in enumerate(soft.tasks)},
        "nearest": [
            [
                {"id": token, "token": token_text(soft.lm, token), "distance": value, "kind": kinds(token, prompt.word or "")}
                for token, value in zip(tokens, values, strict=True)
            ]
            for tokens, values in zip(around.rows.tolist(), around.distances.tolist(), strict=True)
        ],
    }


# Findings


def findings(soft: PromptVectors, around: Neighbours, tasks: Sequence[Task] = (), seed: int = 0) -> list[Found]:
    """The findings of the study, each with its value, a 95 % interval over tasks and words, and the verdict.

    Values are contrasts that are positive where the finding holds, except for `unrelated` and `tasks alike, at the least`.
    The verdict is that of `hardprompt.stats.estimate.verdict`.
    """
    between = distances(soft.vectors, soft.vectors)
    groups = pair_groups(soft.task, soft.word, soft.position)
    to = {name: mean_to_group(between, is_pair) for name, is_pair in groups.items()}

    def contrast(values: Tensor) -> Estimate:
        return crossed_interval(per_prompt(values, soft.task, soft.word).cpu(), seed)

    several = len(soft.tasks) > 1 and len(soft.words) > 1
    nearest_soft = _to_soft(soft)
    count = neighbour_counts(between, groups["all"], EPSILONS[0]) - around.within[0]
    rows = [
        _finding(
            "word over task",
            "the initial word matters more than the task for the position of a vector, as published",
            "mean cosine distance to the other vectors of the same task, minus that to the other vectors of the same word",
            0.705 - 0.583,
            contrast(to["same task"] - to["same word"]) if several else NOTHING,
        ),
        _finding(
            "word over task, apart",
            "the same, between prompts that share only the word or only the task",
            "mean cosine distance to vectors of the same task and another word, minus that to the same word and another task",
            None,
            contrast(to["task only"] - to["word only"]) if several else NOTHING,
        ),
        _finding(
            "same task closer",
            "vectors of one task are closer to each other than all vectors are, as published",
            "mean cosine distance to all other vectors, minus that to those of the same task, including its own prompt",
            0.745 - 0.705,
            contrast(to["all"] - to["same task"]) if several else NOTHING,
        ),
        _finding(
            "same task closer, other words",
            "the same, without pairs that share a word: a smaller share of pairs share one within a task than overall",
            "mean cosine distance to vectors of another task and word, minus that to the same task and another word",
            None,
            contrast(to["neither"] - to["task only"]) if several else NOTHING,
        ),
        _finding(
            "soft neighbours",
            "a soft vector has more soft vectors than tokens as neighbours",
            f"number of other soft vectors within cosine distance {EPSILONS[0]}, minus number of tokens within it",
            70.80 - 1 - 15.68,
            contrast(count.double()) if len(between) > 1 else NOTHING,
        ),
        _finding(
            "closer to soft",
            "soft vectors are closer to each other than to the vocabulary",
            "cosine distance to the closest token, minus that to the closest other soft vector",
            None,
            contrast(around.distances[:, 0] - nearest_soft) if len(between) > 1 else NOTHING,
        ),
        _unrelated(soft, around, tasks, seed),
    ]
    return [*rows, *_alike(soft, seed)]


def _finding(
    name: str,
    statement: str,
    measure: str,
    published: float | None,
    value: Estimate,
    above: float | None = 0.0,
    below: float | None = None,
) -> Found:
    return {
        "name": name,
        "statement": statement,
        "measure": measure,
        "published": published,
        "value": _number(value.value),
        "low": _number(value.low),
        "high": _number(value.high),
        "verdict": verdict(value, above=above, below=below),
    }


def _unrelated(soft: PromptVectors, around: Neighbours, tasks: Sequence[Task], seed: int) -> Found:
    measure = (
        f"share of the {NEAREST} closest tokens that are words of the prompt's own task (inputs, answers, reference prompts), "
        f"minus that share for other tasks' prompts with the same initial word; holds below {UNRELATED}, fails above"
    )
    statement = "the nearest words have nothing to do with the task"
    known = {task.name: task_words(task) for task in tasks}
    value = NOTHING
    if all(name in known for name in soft.tasks) and len(soft.tasks) > 1:
        texts = {token: token_text(soft.lm, token).strip().lower() for token in set(around.rows.flatten().tolist())}
        is_hit = torch.stack([_hits(around.rows, texts, known[name]) for name in soft.tasks])  # (T lists, N)
        grids = torch.stack([per_prompt(each, soft.task, soft.word) for each in is_hit]).cpu()  # (T lists, T, W)
        own = grids[torch.arange(len(grids)), torch.arange(len(grids))]
        others = (grids.nansum(1) - own.nan_to_num()) / ((~grids.isnan()).sum(1) - (~own.isnan()).long())
        value = crossed_interval(own - others, seed)
    return _finding("unrelated", statement, measure, None, value, above=None, below=UNRELATED)


def _hits(rows: Tensor, texts: Mapping[int, str], words: frozenset[str]) -> Tensor:
    hits = [[texts[token] in words for token in each] for each in rows.tolist()]
    return torch.tensor(hits, device=rows.device).double().mean(-1)


def task_words(task: Task) -> frozenset[str]:
    """The words of a task's inputs, answers, label words and reference prompts, in lower case.

    >>> from hardprompt import load_task
    >>> {"shirt", "shirts", "plural"} <= task_words(load_task("plural"))
    True
    """
    examples = (example for split in SPLITS for example in task.examples(split))
    texts = [*task.reference_prompts, *task.label_words.values(), *(f"{each.input} {each.answer}" for each in examples)]
    return frozenset(word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower()))


def _alike(soft: PromptVectors, seed: int) -> list[Found]:
    """Whether distances between tasks correlate across words: in the mean, and for every pair of words as published."""
    value = least = NOTHING
    if soft.grid is not None:
        sequences = task_distances(soft.grid)
        value = correlation_interval(sequences.cpu(), len(soft.tasks), seed)
        table = correlations(sequences)
        pairs = table[~torch.eye(len(table), dtype=torch.bool, device=table.device) & ~table.isnan()]
        if len(pairs):
            smallest = float(pairs.min())
            least = Estimate(smallest, smallest, smallest, value.tasks, value.n)
    statement = "distances between tasks correlate across initial words"
    measure = "mean Pearson correlation, over pairs of words, of the distances between their prompts for every two tasks"
    return [
        _finding("tasks alike across words", statement, measure, None, value),
        _finding(
            "tasks alike, at the least",
            f"{statement}, and no pair of words below {PUBLISHED_CORRELATION}",
            "the smallest of these correlations; it has no interval, so the finding only holds or fails",
            PUBLISHED_CORRELATION,
            least,
            above=PUBLISHED_CORRELATION,
        )
        | {"low": None, "high": None},
    ]


def _number(value: Tensor | float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
