"""Draw the curve of rl.md: accuracy against the reader's log-perplexity, from the record of the recipe `fluent`.

    python runs/rl_fluency.py RECORD FIGURE.png

RECORD is the folder `fluent` of `hardprompt reproduce`.
"""

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from hardprompt.experiments.claims.records import study_lines

SEARCHES = {
    "free": ("RL, all words", "#d55e00", "s"),
    "fluent": ("RL, 256 most probable", "#e69f00", "s"),
    "strict": ("RL, 20 most probable", "#009e73", "s"),
    "strict-random": ("random search, 20 most probable", "#999999", "x"),
    "pez": ("PEZ", "#0072b2", "o"),
}


def main() -> None:
    """Print the table of means over tasks, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    parser.add_argument("figure", type=Path)
    args = parser.parse_args()
    runs = pd.DataFrame(study_lines(args.record))
    runs["repetition"] = [each["repetition"] for each in runs.scrutability]
    runs["at_its_end"] = [each["mean_test_accuracy"] for each in runs.emitted]
    columns = ["deployed_test_accuracy", "at_its_end", "log_perplexity", "reader_log_perplexity", "repetition"]
    means = runs.groupby(["study", "weight"])[columns].mean()
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    headings = ("search", "weight", "test accuracy", "last samples", "nats per token", "reader, nats per token", "repetition")
    print(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}")
    for study, (name, color, marker) in SEARCHES.items():
        own = means.loc[study]
        for weight, row in own.iterrows():
            print(f"| {name} | {weight:g} | {' | '.join(f'{value:.3f}' for value in row)} |")
            axes.annotate(
                f"{weight:g}",
                (row.reader_log_perplexity, row.deployed_test_accuracy),
                (4, 4),
                textcoords="offset points",
                fontsize=7,
            )
        axes.plot(own.reader_log_perplexity, own.deployed_test_accuracy, color=color, marker=marker, label=name)
    axes.invert_xaxis()
    axes.set_xlabel("log-perplexity to the held-out reader, nats per token (more readable to the right)")
    axes.set_ylabel("test accuracy")
    axes.legend(frameon=False, fontsize="small")
    axes.set_title(f"means over {runs.task.nunique()} tasks, by fluency weight", loc="left")
    figure.savefig(args.figure, dpi=120)


if __name__ == "__main__":
    main()
