"""Train, dev and test sets from the parts in which data are published. They depend on the data and the split's name only.

1. A published split is used unchanged, and so are data that consist of train, dev and test with labels.
2. Otherwise test is the labelled test part, or the dev part if there is none, or a fifth of data in one part (rounded up). The
   remaining examples are the pool, without inputs that are in test and without repeated inputs.
3. Dev is a fifth of the pool, but at most 1,000 examples, and train is the rest. With `shots`, each of the two gets that many
   examples per label.

Examples are drawn by a permutation of numpy's `RandomState`, whose stream never changes. Its seed is the number at the end of
the split's name, or 42 for "default". The fifth of data in one part is the one that scikit-learn draws with
`train_test_split(test_size=0.2, random_state=42)`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from hardprompt.data.task import SPLITS, Example, Split
from hardprompt.errors import TaskError

Parts = Mapping[Split, Sequence[Example]]
T = TypeVar("T")

DEFAULT_SEED = 42
MAX_DEV = 1000


def seed_of(split: str) -> int:
    """The seed of a split: the number at the end of its name, or 42 for "default".

    Raises:
        TaskError: the name does not end in a number below 2**32.

    Example:
        >>> seed_of("16-13"), seed_of("default")
        (13, 42)
    """
    found = re.search(r"(?<![0-9])[0-9]{1,10}$", split)
    seed = DEFAULT_SEED if split == "default" else int(found[0]) if found else 2**32
    if seed >= 2**32:
        raise TaskError(f"split {split!r} does not exist and cannot be drawn: the name must end in a number, the seed")
    return seed


def make_splits(
    parts: Parts, split: str, shots: int | None = None, labels: Sequence[str] = (), published: bool = False
) -> dict[Split, list[Example]]:
    """Make train, dev and test by the rules above.

    Args:
        parts: the labelled examples by published part, none empty. Data in one part may have any part's name.
        split: the name of the split, which ends in the seed.
        shots: examples per label in train and in dev; for a generation task, examples in total.
        labels: the labels of a classification task.
        published: whether the parts are those of a published split.

    Raises:
        TaskError: there are too few examples for the shots, or the name of the split gives no seed.

    Example:
        >>> films = [Example(f"film {i}", "good" if i % 2 else "bad") for i in range(20)]
        >>> {part: len(examples) for part, examples in make_splits({"train": films}, "13").items()}
        {'train': 12, 'dev': 4, 'test': 4}
    """
    if published and (missing := [part for part in SPLITS if part not in parts]):
        raise TaskError(f"the published split has no {' and no '.join(missing)} with labels; give it, or draw with --shots N")
    if shots is None and len(parts) == 3:
        if split != "default" and not published:
            raise TaskError(f"the data have no split {split!r} but come as one train, dev and test; draw others with --shots N")
        return {"train": list(parts["train"]), "dev": list(parts["dev"]), "test": list(parts["test"])}
    seed = seed_of(split)
    if len(parts) == 1:
        [everything] = parts.values()
        test, rest = _first_fifth(_shuffled(everything, seed))
    else:
        held_out: Split = "test" if "test" in parts else "dev"
        test = list(parts[held_out])
        rest = _shuffled([example for part, some in parts.items() if part != held_out for example in some], seed)
    pool = _fresh(rest, test)
    if shots is None:
        dev, train = _first_fifth(pool, MAX_DEV)
        return {"train": train, "dev": dev, "test": test}
    return {**_draw_shots(pool, shots, labels), "test": test}


def draw_by_label(examples: Sequence[Example], count: int, labels: Sequence[str] = ()) -> list[Example]:
    """At most `count` of the examples, always the same ones, in their order.

    Each label has its share of the examples, rounded by the largest remainder; of equal remainders, the first label's counts.
    Without labels, all examples are drawn from alike. The draw depends on the examples only, not on the seed of a run.

    Args:
        examples: the examples to draw from.
        count: how many to draw; with as many or fewer examples, all are returned.
        labels: the labels of a classification task.

    Example:
        >>> films = [Example(f"film {i}", "good" if i % 4 else "bad") for i in range(40)]
        >>> drawn = draw_by_label(films, 10, ("bad", "good"))
        >>> len(drawn), sum(film.answer == "bad" for film in drawn)
        (10, 3)
    """
    if count >= len(examples):
        return list(examples)
    places = [[i for i, each in enumerate(examples) if each.answer == label] for label in labels] or [[*range(len(examples))]]
    shares = [divmod(count * len(own), len(examples)) for own in places]
    left = count - sum(whole for whole, _ in shares)
    rounded_up = sorted(range(len(places)), key=lambda i: -shares[i][1])[:left]
    counts = [whole + (i in rounded_up) for i, (whole, _) in enumerate(shares)]
    drawn = [i for own, number in zip(places, counts, strict=True) for i in _shuffled(own, DEFAULT_SEED)[:number]]
    return [examples[i] for i in sorted(drawn)]


def _shuffled(items: Sequence[T], seed: int) -> list[T]:
    return [items[i] for i in np.random.RandomState(seed).permutation(len(items))]


def _first_fifth(items: list[T], most: int | None = None) -> tuple[list[T], list[T]]:
    count = -(-len(items) // 5)
    count = count if most is None else min(count, most)
    return items[:count], items[count:]


def without_repeats(examples: Iterable[Example]) -> list[Example]:
    """The examples with the first one of each input."""
    return _fresh(examples, ())


def _fresh(examples: Iterable[Example], known: Iterable[Example]) -> list[Example]:
    """The examples with inputs other than the known ones, one per input."""
    seen = {example.input for example in known}
    fresh = []
    for example in examples:
        if example.input not in seen:
            seen.add(example.input)
            fresh.append(example)
    return fresh


def _draw_shots(pool: Sequence[Example], shots: int, labels: Sequence[str]) -> dict[Split, list[Example]]:
    """For each label, the first `shots` examples of the pool for train and the next ones for dev."""
    found: dict[Split, list[Example]] = {"train": [], "dev": []}
    count: Counter[str] = Counter()
    for example in pool:
        label = example.answer if labels else "all"
        if count[label] < 2 * shots:
            found["train" if count[label] < shots else "dev"].append(example)
            count[label] += 1
    for label in labels or ("all",):
        if count[label] < 2 * shots:
            of = f" of {label!r}" if labels else ""
            raise TaskError(f"{shots} shots need {2 * shots} examples{of} for train and dev, but there are {count[label]}")
    return found
