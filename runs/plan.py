"""Compare the estimate of a recipe with the time of its runs.

    python runs/plan.py RECIPE [FIELD=VALUE ...]        # prints a row of the table in runs/plan.md

Both are measured in seconds of the processor in one process, so that other programs on the machine do not matter.
"""

import sys
import tempfile
import time
from types import SimpleNamespace

from hardprompt.study import estimate as module
from hardprompt.study.recipe import read_recipe
from hardprompt.study.runner import run


def main() -> None:
    """Print the row."""
    file, *options = sys.argv[1:]
    recipe = read_recipe(file, options)
    module.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    began = time.process_time()
    found = module.estimate(recipe, "nowhere", jobs=1)
    calibration = time.process_time() - began
    with tempfile.TemporaryDirectory() as out:
        began = time.process_time()
        stores = run(recipe, out, jobs=1).stores
        seconds = time.process_time() - began
        tokens = sum(line["lm_tokens_forward"] + line["lm_tokens_backward"] for store in stores for line in store.runs())
        size = sum(file.stat().st_size for store in stores for file in store.folder.rglob("*") if file.is_file())
    estimated = found.hours * 3600
    print(
        "| recipe | runs | LM tokens estimated | real | seconds estimated | real | ratio | calibration | MB estimated | real |"
    )
    cells = (
        *(f"`{' '.join([file, *options])}`", f"{found.runs}", f"{found.lm_tokens:,}", f"{tokens:,}", f"{estimated:.0f}"),
        *(
            f"{seconds:.0f}",
            f"{estimated / seconds:.2f}",
            f"{calibration:.0f} s",
            f"{found.disk_bytes / 1e6:.2f}",
            f"{size / 1e6:.2f}",
        ),
    )
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
