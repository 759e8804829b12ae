"""Read wayward prompts by what they do, for readings.md.

    python runs/wayward_readings.py FOLDER OUT [--kinds KIND ...] [--lm-tokens N]

FOLDER is a study of wayward prompts, such as the folder `smollm2-wayward` of `hardprompt reproduce khashabi`. A line of OUT is
one prompt; lines that exist are not measured again. The text that a prompt projects to is that of the reader `nearest`. The
reference prompts of the task are measured as texts of the caller, "given". A cell of the table is about the best text of a
reader: its verdict, score, agreement and test accuracy, and the text.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from hardprompt import SoftPrompt, load_lm, read
from hardprompt.experiments.wayward.pairs import WaywardPairs, WaywardRecord
from hardprompt.records.request import model_names

READERS = ("nearest", "self-description", "samples", "wide-beam")


def read_prompts(folder: Path, out: Path, kinds: list[str], lm_tokens: int) -> None:
    """Append a line to `out` for each prompt of these kinds that has none."""
    record = WaywardRecord(folder)
    request = WaywardPairs(**record.study)
    tasks = {task.name: task for task in request.load_tasks()}
    done = {(line["lm"], line["task"], line["kind"]) for line in lines(out)}
    for name, known_as in model_names(request.lms).items():
        lm = load_lm(name, dtype=request.dtype)
        for line in record.lines():
            if (known_as, line["task"], line["kind"]) in done or line["lm"] != known_as or line["kind"] not in kinds:
                continue
            task = tasks[line["task"]]
            found = read(
                SoftPrompt(record.load_vectors(line["file"])),
                task,
                lm,
                inputs=[example.input for example in (*task.train, *task.dev)],
                readers=READERS,
                texts=task.reference_prompts,
                lm_tokens=lm_tokens,
            )
            known = {"lm": known_as, "task": line["task"], "kind": line["kind"], "projection": line["projection"]}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known | found.as_json()) + "\n")


def lines(out: Path) -> list[dict[str, Any]]:
    """The lines that exist."""
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def table(found: list[dict[str, Any]]) -> str:
    """The table, in Markdown."""
    columns = ("given", *READERS)
    rows = [f"| task | target | projects to | outcome | accuracy | {' | '.join(columns)} |", "|---" * (5 + len(columns)) + "|"]
    for line in found:
        cells = []
        for name in columns:
            own = [each for each in line["readings"] if name in each["found_by"]]
            best = max(own, key=lambda each: each["score"], default=None)
            cells.append(_cell(best) if best else "-")
        head = (line["task"], line["kind"], line["projection"].strip(), line["verdict"], f"{line['accuracy']:.2f}")
        rows.append(f"| {' | '.join((*head, *cells))} |".replace("\n", " "))
    return "\n".join(rows)


def _cell(reading: dict[str, Any]) -> str:
    values = ", ".join(f"{reading[key]:.2f}" for key in ("score", "agreement", "deployed_accuracy"))
    return f"{reading['verdict']}: {values} *{reading['text'].strip()}*"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["other inputs", "prose", "contradiction", "code", "own definition"])
    parser.add_argument("--lm-tokens", type=int, default=20_000)
    given = parser.parse_args()
    read_prompts(given.folder, given.out, given.kinds, given.lm_tokens)
    print(table(lines(given.out)))
