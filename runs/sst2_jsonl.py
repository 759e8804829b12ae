"""Make one jsonl task file from a folder of k-shot splits (`16-13/train.tsv`, `16-13/dev.tsv`, `test.tsv`).

    python runs/sst2_jsonl.py ../shared/data/fewshot/sst-2 16-13 sst2.jsonl

A line of a split has a sentence and an integer label, separated by a tab, under a header.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path


def rows(file: Path) -> Iterator[tuple[str, str]]:
    """(sentence, label) pairs of a tsv file with a header; quotes are text."""
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["sentence"].strip(), row["label"].strip()


def main(folder: Path, split: str, out: Path) -> None:
    """Write train, dev and test of one split as `input`, `answer`, `split`."""
    files = {"train": folder / split / "train.tsv", "dev": folder / split / "dev.tsv", "test": folder / "test.tsv"}
    with out.open("w", encoding="utf-8") as file:
        for part, source in files.items():
            for sentence, label in rows(source):
                file.write(json.dumps({"input": sentence, "answer": label, "split": part}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
