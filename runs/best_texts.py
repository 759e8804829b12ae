"""Is there a text that does what a trained soft prompt does? For readings.md.

    python runs/best_texts.py STUDIES --data DIR [--dtype bfloat16] [--threads 2]

STUDIES is a folder of studies of SmolLM2, such as `smollm2-fronts` of `hardprompt reproduce`. For each soft prompt of the
benchmark that was trained on a task of a study, the best manual prompt and the best prompt that a search found, both by loss on
dev, are measured as readings.
"""

import argparse
from pathlib import Path

import torch

from hardprompt import load_lm, load_points, read
from hardprompt.experiments.reading.prompts import load_benchmark


def best_texts(studies: Path, task: str) -> dict[str, str]:
    """The best manual prompt and the best found one, each with its optimizer; empty without a study of the task."""
    found: dict[str, tuple[float, str, str]] = {}
    for file in sorted(studies.glob(f"{task}-*/points.jsonl")):
        points = load_points(file.parent)
        texts = points[(points.prompt_text.fillna("") != "") & points.roundtrip_ok.fillna(False).astype(bool)]
        for point in texts.itertuples():
            kind = "manual" if point.optimizer == "manual" else "found"
            found[kind] = min(found.get(kind, (float("inf"), "", "")), (point.dev_loss, point.prompt_text, point.optimizer))
    return {f"{kind} ({optimizer})": text for kind, (_, text, optimizer) in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lm = load_lm("smollm2", dtype=given.dtype)
    print("| prompt | accuracy | text | by | accuracy of the text | KL | score | agreement | verdict |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for prompt in load_benchmark("smollm2"):
        texts = best_texts(given.studies, prompt.task) if prompt.kind == "trained" else {}
        if not texts:
            continue
        found = read(prompt.prompt, prompt.load_task(given.data), lm, readers=[], texts=list(texts.values()))
        for kind, text in texts.items():
            line = next(each for each in found.readings if each.text.strip() == text.strip())
            cells = (
                prompt.name,
                f"{found.accuracy:.2f}",
                f"*{text.strip()}*",
                kind,
                f"{line.deployed_accuracy:.2f}",
                f"{line.evidence.kl.value:.2f}",
                f"{line.evidence.score:.2f}",
                f"{line.evidence.agreement:.2f}",
                line.verdict,
            )
            print(f"| {' | '.join(cells)} |".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
