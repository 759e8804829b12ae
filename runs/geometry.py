"""Which published findings on the geometry of soft prompts are reproduced, with values and intervals.

    python runs/geometry.py FOLDER [FOLDER ...]

Each FOLDER is a record of `hardprompt geometry --out FOLDER` (see `runs/geometry.sh`); nothing is trained. The script prints
Markdown: the findings, the distances and neighbourhoods next to the published ones, and the kinds of the closest tokens.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

PUBLISHED = {
    "same word": "0.583",
    "same task": "0.705",
    "all": "0.745",
}
"""Published mean cosine distances on GPT-2 XL. The printed values include pairs of a vector with itself; these do not."""

NEIGHBOURS = {"soft": ("85.49", "15.68", "69.80"), "random token": ("37.62", "35.66", "1.96")}
"""Published numbers of neighbours within a distance of 0.7: all, in the vocabulary, and soft, without pairs with itself."""


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table in Markdown."""
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for row in rows:
        print("| " + " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row) + " |")
    print()


def interval(row: dict[str, Any]) -> str:
    """A value, its interval and its verdict, as text."""
    if row["value"] is None:
        return "-"
    span = "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})"
    return f"{row['value']:.3f}{span}, {row['verdict']}"


def main() -> None:
    """Print the tables of all folders side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+")
    studies = [json.loads((each / "geometry.json").read_text(encoding="utf-8")) for each in parser.parse_args().folder]
    names = [name(study) for study in studies]
    table(
        ("finding", "measured as", "published", *names),
        (
            (row["statement"], row["measure"], "-" if row["published"] is None else row["published"], *map(interval, rows))
            for row, *rows in zip(studies[0]["findings"], *(study["findings"] for study in studies), strict=True)
        ),
    )
    groups = [study["distances"]["cosine"] for study in studies]
    table(
        ("mean cosine distance", "published", *names),
        [
            *(
                (f"pairs: {group}", PUBLISHED.get(group, "-"), *(own["groups"][group]["mean"] for own in groups))
                for group in groups[0]["groups"]
            ),
            ("random tokens", "-", *(own["random_tokens"] for own in groups)),
            ("soft vectors to random tokens", "-", *(own["to_random_tokens"] for own in groups)),
            ("soft vector to the closest token", "0.53", *(study["closest"]["soft"]["token"] for study in studies)),
            ("token to the closest token", "0.428", *(study["closest"]["random_token"]["token"] for study in studies)),
            ("soft vector to the closest of any kind", "0.358", *(study["closest"]["soft"]["any"] for study in studies)),
            ("token to the closest of any kind", "0.424", *(study["closest"]["random_token"]["any"] for study in studies)),
        ],
    )
    at = [[row for row in study["neighbourhoods"] if row["epsilon"] == 0.7 and not row["self_pairs"]] for study in studies]
    table(
        ("within 0.7 of a", "", "published", *names),
        (
            (kind, key, published, *(row[key] for rows in at for row in rows if row["of"] == kind))
            for kind, values in NEIGHBOURS.items()
            for key, published in zip(("neighbours", "vocabulary", "soft"), values, strict=True)
        ),
    )
    table(
        ("kind of the five closest tokens", *(f"{each}{of}" for each in names for of in ("", ", all tokens"))),
        (
            (kind, *(study["kinds"][among][kind] for study in studies for among in ("nearest", "vocabulary")))
            for kind in studies[0]["kinds"]["nearest"]
        ),
    )
    table(
        ("task", *(f"{each}, test accuracy (loss)" for each in names)),
        (
            (f"{one} / {two}" if one != two else one, *values)
            for one, two, *values in (
                (studies[0]["tasks"][i], studies[-1]["tasks"][i], *(score(study, i) for study in studies))
                for i in range(min(len(study["tasks"]) for study in studies))
            )
        ),
    )
    table(
        ("mean over prompts", *names),
        (
            (said, *(sum(line[key] for line in study["prompts"]) / len(study["prompts"]) for study in studies))
            for said, key in (
                ("distance moved from the initial word, L2", "moved"),
                ("test accuracy", "test_accuracy"),
                ("seconds of training", "seconds"),
            )
        ),
    )


def name(study: dict[str, Any]) -> str:
    """The name of a study: its model, epochs and learning rate."""
    request = study["request"]
    rate = "" if request["learning_rate"] is None else f", learning rate {request['learning_rate']:g}"
    return f"{study['lm']}, {request['epochs']} epochs{rate}"


def score(study: dict[str, Any], number: int) -> str:
    """The test accuracy and loss of a task, as means over the initial words."""
    own = [line for line in study["prompts"] if line["task"] == study["tasks"][number] and line["status"] == "ok"]
    accuracy, loss = (sum(line[f"test_{key}"] for line in own) / len(own) for key in ("accuracy", "loss"))
    return f"{accuracy:.3f} ({loss:.2f})"


if __name__ == "__main__":
    main()
