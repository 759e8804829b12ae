"""What the places of soft prompts say: the tables of Bakalova (2024), and which of its findings hold, from vectors alone.

Distances are cosine distances (1 - cosine) or Euclidean ones in embedding units. `random tokens` are as many tokens as there
are soft vectors, drawn from the vocabulary: whatever is said of soft vectors is said of these beside.
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
    Interval,
    Surroundings,
    correlation_interval,
    correlations,
    crossed_interval,
    distances,
    mean_distance,
    mean_distance_by,
    mean_to_group,
    neighbours_in,
    pair_groups,
    per_prompt,
    surroundings,
    task_distances,
    vector_distances,
)
from hardprompt.metrics.token_kinds import KINDS, token_kind, vocabulary_kinds
from hardprompt.metrics.tokens import token_text

Found = dict[str, Any]

NEAREST = 5
"""Closest tokens that are named for every vector."""

PUBLISHED_CORRELATION = 0.742


class Places:
    """Soft prompts of one length, by task and word, in one model's embedding space.

    Args:
        prompts: each with a task and a word; at most one of each pair counts, the last.
        lm: the model that they were trained for.
        seed: of the random tokens.

    Raises:
        RequestError: no prompts, prompts without a task or word, of several lengths, or of another width than the model's.
    """

    def __init__(self, prompts: Sequence[Trained], lm: FrozenLM, seed: int = 0) -> None:
        self.prompts = list({(each.task, each.word): each for each in prompts}.values())
        if not self.prompts or any(each.task is None or each.word is None for each in self.prompts):
            raise RequestError("the places of soft prompts are told by their tasks and initial words; give at least one, named")
        for each in self.prompts:
            check_fit(each, lm)
        lengths = {len(each.embeds) for each in self.prompts}
        if len(lengths) > 1:
            raise RequestError(f"soft prompts of {' and '.join(map(str, sorted(lengths)))} vectors; give such of one length")
        [self.length] = lengths
        self.lm = lm
        self.tasks = list(dict.fromkeys(str(each.task) for each in self.prompts))
        self.words = list(dict.fromkeys(str(each.word) for each in self.prompts))
        self.vectors = torch.cat([each.embeds.to(lm.device) for each in self.prompts])
        self.task = self._labels([self.tasks.index(str(each.task)) for each in self.prompts])
        self.word = self._labels([self.words.index(str(each.word)) for each in self.prompts])
        self.position = torch.arange(self.length, device=lm.device).repeat(len(self.prompts))
        self.vocab = lm.vocab_embeds.float()
        special = torch.tensor(sorted(set(lm.tokenizer.all_special_ids)), dtype=torch.long)
        plain = torch.ones(len(self.vocab), dtype=torch.bool)
        plain[special[special < len(plain)]] = False
        drawn = torch.randperm(int(plain.sum()), generator=torch.Generator().manual_seed(seed))[: len(self.vectors)]
        self.random = plain.nonzero().flatten()[drawn].to(lm.device)

    @property
    def grid(self) -> Tensor | None:
        """The vectors of all words that have a prompt for every task, (T, W, L, d); None where there are not two of either."""
        count = Counter(str(each.word) for each in self.prompts)
        whole = [word for word in self.words if count[word] == len(self.tasks)]
        if len(whole) < 2 or len(self.tasks) < 3:
            return None
        place = {(each.task, each.word): each.embeds for each in self.prompts}
        return torch.stack([torch.stack([place[task, word] for word in whole]) for task in self.tasks]).to(self.lm.device)

    def _labels(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, device=self.lm.device).repeat_interleave(self.length)


def check_fit(prompt: Trained, lm: FrozenLM) -> None:
    """RequestError where vectors are not (L, d) with the model's width, or not finite."""
    shape, width = tuple(prompt.embeds.shape), lm.vocab_embeds.shape[1]
    if len(shape) != 2 or shape[0] == 0 or shape[1] != width:
        raise RequestError(
            f"{prompt.source}: a soft prompt of shape {shape} does not fit {lm.name}, whose embeddings are {width} wide"
        )
    if not prompt.embeds.isfinite().all():
        raise RequestError(f"{prompt.source}: a number that is not finite")


def placement(
    prompts: Sequence[Trained], lm: FrozenLM, tasks: Sequence[Task] = (), seed: int = 0, added: Sequence[Trained] = ()
) -> Found:
    """Everything that the vectors of trained prompts say.

    Args:
        prompts: one per task and word.
        lm: the model that they were trained for.
        tasks: theirs, whose words say whether a neighbouring token has to do with them; without them that finding is left out.
        seed: of the random tokens and of the bootstrap.
        added: prompts trained elsewhere, of any length, that are told against these.

    Returns:
        `tasks`, `words`, `length`, `vectors`, `random_tokens`; `distances` by measure (groups of pairs, by word, by task, by
        position, against random tokens; `with_self_pairs` is the published variant); `neighbourhoods`, a row per epsilon and
        kind of vector; `closest`; `correlations` (by measure and sequence); `nearest`, a row per vector with its closest
        tokens; `kinds`, the shares of their categories; `added`; and `findings`.

    Raises:
        RequestError: prompts that do not fit the model or each other.
    """
    places = Places(prompts, lm, seed)
    for each in added:
        check_fit(each, lm)
    around = surroundings(places.vectors, places.vocab, count=NEAREST)
    nearest = _nearest(places, around)
    return {
        "lm": lm.name,
        "tasks": places.tasks,
        "words": places.words,
        "length": places.length,
        "vectors": len(places.vectors),
        "random_tokens": len(places.random),
        "vocabulary": len(places.vocab),
        "distances": {measure: _distances(places, measure) for measure in DISTANCES},
        "neighbourhoods": _neighbourhoods(places, around),
        "closest": _closest(places, around),
        "correlations": _correlations(places),
        "nearest": nearest,
        "kinds": _kinds(places, nearest),
        "added": [beside(each, places) for each in added],
        "findings": findings(places, around, tasks, seed),
    }


def _distances(places: Places, measure: str) -> Found:
    between = distances(places.vectors, places.vectors, measure)
    random = places.vocab[places.random]
    groups = pair_groups(places.task, places.word, places.position)
    among = distances(random, random, measure)
    labelled = {"by_word": (places.words, places.word), "by_task": (places.tasks, places.task)}
    labelled["by_position"] = ([str(number + 1) for number in range(places.length)], places.position)
    return {
        "groups": {
            name: {"mean": mean_distance(between, is_pair), "with_self_pairs": mean_distance(between, is_pair, self_pairs=True)}
            for name, is_pair in groups.items()
        },
        "random_tokens": mean_distance(among, torch.ones_like(among).bool()),
        "to_random_tokens": float(distances(places.vectors, random, measure).mean()),
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


def _neighbourhoods(places: Places, around: Surroundings) -> list[Found]:
    """Table 3: mean numbers of neighbours of soft vectors and of random tokens; a vector is no neighbour of itself."""
    between = distances(places.vectors, places.vectors)
    groups = pair_groups(places.task, places.word, places.position)
    random = places.vocab[places.random]
    to_vocab = surroundings(random, places.vocab, own=places.random).within.double().mean(-1)
    to_soft = surroundings(random, places.vectors).within.double().mean(-1)
    rows = []
    for number, epsilon in enumerate(EPSILONS):
        for self_pairs in (False, True):
            counts = {
                name: float(neighbours_in(between, groups[name], epsilon, self_pairs).double().mean())
                for name in ("all", "same word", "same task", "same position")
            }
            of_soft = {"vocabulary": float(around.within[number].double().mean()), "soft": counts.pop("all")}
            of_random = {"vocabulary": float(to_vocab[number]) + self_pairs, "soft": float(to_soft[number])}
            for kind, found, more in (("soft", of_soft, counts), ("random token", of_random, dict.fromkeys(counts))):
                total = {"neighbours": sum(found.values())}
                named = {name.replace(" ", "_"): value for name, value in more.items()}
                rows.append({"epsilon": epsilon, "self_pairs": self_pairs, "of": kind} | total | found | named)
    return rows


def _closest(places: Places, around: Surroundings) -> Found:
    """Mean distance to the closest token, and to the closest vector of any kind."""
    random = places.vocab[places.random]
    tokens = surroundings(random, places.vocab, count=1, own=places.random).distances[:, 0]
    soft = _to_soft(places)
    token = around.distances[:, 0]
    return {
        "soft": {
            "token": float(token.mean()),
            "any": float(torch.minimum(token, soft).mean()),
            "without_token_within": {str(epsilon): int((token >= epsilon).sum()) for epsilon in EPSILONS},
        },
        "random_token": {
            "token": float(tokens.mean()),
            "any": float(torch.minimum(tokens, surroundings(random, places.vectors, count=1).distances[:, 0]).mean()),
            "without_token_within": {str(epsilon): int((tokens >= epsilon).sum()) for epsilon in EPSILONS},
        },
    }


def _to_soft(places: Places) -> Tensor:
    """Distance of each vector to the closest other one; infinite where there is none."""
    own = torch.arange(len(places.vectors), device=places.vectors.device)
    return surroundings(places.vectors, places.vectors, count=1, own=own).distances[:, 0]


def _correlations(places: Places) -> Found | None:
    """Pearson correlation between words of the distances between their prompts; None without three tasks and two words."""
    if places.grid is None:
        return None
    found: Found = {}
    for measure in DISTANCES:
        for name, sequences in (
            ("prompts", task_distances(places.grid, measure)),
            ("vectors", vector_distances(places.grid, measure)),
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


def _nearest(places: Places, around: Surroundings) -> list[Found]:
    rows = []
    kinds = _KindOf(places.lm)
    for number, (values, tokens) in enumerate(zip(around.distances.tolist(), around.rows.tolist(), strict=True)):
        prompt = places.prompts[number // places.length]
        rows.append(
            {
                "task": prompt.task,
                "word": prompt.word,
                "position": number % places.length + 1,
                "tokens": [
                    {
                        "id": token,
                        "token": token_text(places.lm, token),
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


def _kinds(places: Places, nearest: Sequence[Found]) -> Found:
    """Shares of the categories among the closest token of each vector, all named ones, and the whole vocabulary."""

    def shares(kinds: Sequence[str]) -> dict[str, float]:
        return {kind: kinds.count(kind) / len(kinds) for kind in KINDS}

    return {
        "closest": shares([row["tokens"][0]["kind"] for row in nearest]),
        "nearest": shares([token["kind"] for row in nearest for token in row["tokens"]]),
        "vocabulary": shares(vocabulary_kinds(places.lm)),
    }


def beside(prompt: Trained, places: Places) -> Found:
    """Where a prompt trained elsewhere lies: its closest tokens, its mean cosine distance to the vectors of words and tasks."""
    kinds = _KindOf(places.lm)
    vectors = prompt.embeds.to(places.vectors.device)
    around = surroundings(vectors, places.vocab, count=NEAREST)
    between = distances(vectors, places.vectors)
    return {
        "source": prompt.source,
        "task": prompt.task,
        "word": prompt.word,
        "closest_token": float(around.distances[:, 0].mean()),
        "closest_soft": float(between.min(-1).values.mean()),
        "to_all": float(between.mean()),
        "to_word": {word: float(between[:, places.word == number].mean()) for number, word in enumerate(places.words)},
        "to_task": {task: float(between[:, places.task == number].mean()) for number, task in enumerate(places.tasks)},
        "nearest": [
            [
                {"id": token, "token": token_text(places.lm, token), "distance": value, "kind": kinds(token, prompt.word or "")}
                for token, value in zip(tokens, values, strict=True)
            ]
            for tokens, values in zip(around.rows.tolist(), around.distances.tolist(), strict=True)
        ],
    }


# Findings


def findings(places: Places, around: Surroundings, tasks: Sequence[Task] = (), seed: int = 0) -> list[Found]:
    """The findings of the study, each a value per prompt with an interval over tasks and words, and whether it shows.

    Every value is a contrast that is positive where the finding holds, but for `unrelated`. `holds` is said where the whole
    95 % interval is on the finding's side, `fails` where the whole of it is on the other, and `undecided` between.
    """
    between = distances(places.vectors, places.vectors)
    groups = pair_groups(places.task, places.word, places.position)
    to = {name: mean_to_group(between, is_pair) for name, is_pair in groups.items()}

    def contrast(values: Tensor) -> Interval:
        return crossed_interval(per_prompt(values, places.task, places.word).cpu(), seed)

    several = len(places.tasks) > 1 and len(places.words) > 1
    nothing = Interval(math.nan, math.nan, math.nan)
    soft = _to_soft(places)
    count = neighbours_in(between, groups["all"], EPSILONS[0]) - around.within[0]
    rows = [
        _finding(
            "word over task",
            "the initial word matters more than the task for where a vector lies, as published",
            "mean cosine distance to the other vectors of the same task, minus that to the other vectors of the same word",
            0.705 - 0.583,
            contrast(to["same task"] - to["same word"]) if several else nothing,
        ),
        _finding(
            "word over task, apart",
            "the same between prompts that share only one of both",
            "mean cosine distance to vectors of the same task and another word, minus that to the same word and another task",
            None,
            contrast(to["task only"] - to["word only"]) if several else nothing,
        ),
        _finding(
            "same task closer",
            "vectors of one task are closer to each other than all are, as published",
            "mean cosine distance to all others, minus that to those of the same task, its own prompt's included",
            0.745 - 0.705,
            contrast(to["all"] - to["same task"]) if several else nothing,
        ),
        _finding(
            "same task closer, other words",
            "the same, whatever the initial words do: of a task's pairs fewer share a word than of all",
            "mean cosine distance to vectors of another task and word, minus that to the same task and another word",
            None,
            contrast(to["neither"] - to["task only"]) if several else nothing,
        ),
        _finding(
            "soft neighbours",
            "a soft vector has more soft neighbours than tokens around it",
            f"soft vectors within cosine distance {EPSILONS[0]}, itself excluded, minus tokens within it",
            70.80 - 1 - 15.68,
            contrast(count.double()),
        ),
        _finding(
            "closer to soft",
            "soft vectors are closer to each other than to the vocabulary",
            "cosine distance to the closest token, minus that to the closest other soft vector",
            None,
            contrast(around.distances[:, 0] - soft),
        ),
        _unrelated(places, around, tasks, seed),
    ]
    return [*rows, *_alike(places, seed)]


def _finding(name: str, statement: str, measure: str, published: float | None, value: Interval) -> Found:
    verdict = "undecided"
    if value.low > 0:
        verdict = "holds"
    elif value.high <= 0:
        verdict = "fails"
    return {
        "name": name,
        "statement": statement,
        "measure": measure,
        "published": published,
        "value": _number(value.mean),
        "low": _number(value.low),
        "high": _number(value.high),
        "verdict": verdict,
    }


UNRELATED = 0.02
"""A share of related neighbours by which a prompt's own task may exceed others and still count as unrelated."""


def _unrelated(places: Places, around: Surroundings, tasks: Sequence[Task], seed: int) -> Found:
    measure = (
        f"share of the {NEAREST} closest tokens that are words of the prompt's own task (inputs, answers, reference prompts), "
        f"minus that of the other tasks' prompts of the same initial word; holds below {UNRELATED}, fails above"
    )
    statement = "the nearest words have nothing to do with the task"
    known = {task.name: task_words(task) for task in tasks}
    value = Interval(math.nan, math.nan, math.nan)
    if all(name in known for name in places.tasks) and len(places.tasks) > 1:
        texts = {token: _bare(token_text(places.lm, token)) for token in set(around.rows.flatten().tolist())}
        is_hit = torch.stack([_hits(around.rows, texts, known[name]) for name in places.tasks])  # (T lists, N)
        grids = torch.stack([per_prompt(each, places.task, places.word) for each in is_hit]).cpu()  # (T lists, T, W)
        own = grids[torch.arange(len(grids)), torch.arange(len(grids))]
        others = (grids.nansum(1) - own.nan_to_num()) / ((~grids.isnan()).sum(1) - (~own.isnan()).long())
        value = crossed_interval(own - others, seed)
    row = _finding("unrelated", statement, measure, None, value)
    verdict = "holds" if value.high < UNRELATED else "fails" if value.low > UNRELATED else "undecided"
    return row | {"verdict": verdict}


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


def _bare(text: str) -> str:
    return text.strip().lower()


def _alike(places: Places, seed: int) -> list[Found]:
    """Whether distances between tasks go together across words, in the mean and at least as published."""
    value, least = Interval(math.nan, math.nan, math.nan), None
    if places.grid is not None:
        sequences = task_distances(places.grid)
        value = correlation_interval(sequences.cpu(), len(places.tasks), seed)
        table = correlations(sequences)
        pairs = table[~torch.eye(len(table), dtype=torch.bool, device=table.device) & ~table.isnan()]
        least = float(pairs.min()) if len(pairs) else None
    statement = "distances between tasks correlate across initial words"
    measure = "mean Pearson correlation, over pairs of words, of the distances between their prompts for every two tasks"
    mean = _finding("tasks alike across words", statement, measure, None, value)
    row = {
        "name": "tasks alike, at the least",
        "statement": f"{statement}, and no pair of words below {PUBLISHED_CORRELATION}",
        "measure": "the least of these correlations; without an interval, so it only holds or fails",
        "published": PUBLISHED_CORRELATION,
        "value": least,
        "low": None,
        "high": None,
        "verdict": "undecided" if least is None else "holds" if least >= PUBLISHED_CORRELATION else "fails",
    }
    return [mean, row]


def _number(value: Tensor | float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
