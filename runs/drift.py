"""Train soft prompts from instructions in plain English, and follow what their projections ask for during training.

    python runs/drift.py OUT.jsonl FIGURE.png [TASK ...] [--learning-rate 0.03]

The default tasks are `superlative` and `currency`. Their plain instructions give the right answer on a part of the inputs only,
so that training can improve them.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from hardprompt import Problem, Scorer, load_lm, load_task
from hardprompt.experiments.wayward.grid import WaywardGrid, train_checkpoints
from hardprompt.experiments.wayward.run import default_judge
from hardprompt.optimizers.wayward import target_prompt
from hardprompt.projection import SIMILARITY_MEASURES, nearest

SCHEDULE = {"steps": 120, "batch_size": 8, "evaluate_every": 15}


def main() -> None:
    """Train from the first reference prompt of each task, write a line for each checkpoint, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("tasks", nargs="*", default=["superlative", "currency"])
    parser.add_argument("--learning-rate", type=float, default=0.03)
    args = parser.parse_args()
    config = WaywardGrid(**SCHEDULE, learning_rate=args.learning_rate)
    lm, reader = load_lm("microworld"), load_lm("microworld-reader")
    vocab = lm.vocab_embeds.float()
    judge = default_judge(load_task(args.tasks[0]), lm, reader)
    rows = []
    for name in args.tasks:
        task = load_task(name)
        start = target_prompt(lm, task.template, task.reference_prompts[0])
        problem = Problem(task, lm, prompt_length=len(start.ids), vocabulary="all")
        test = Scorer(lm, task, task.test)
        way = [(0, vocab[list(start.ids)])]
        for number, each in enumerate(train_checkpoints(problem, start, 0.0, config), 1):
            way.append((number * config.evaluate_every, each.embeds))
        for step, embeds in way:
            texts = {measure: lm.decode(nearest(embeds, vocab, measure).tolist()) for measure in SIMILARITY_MEASURES}
            read = texts["cosine"]
            rows.append(
                {
                    "task": name,
                    "step": step,
                    "distance": float((embeds - way[0][1]).norm(dim=-1).mean()),
                    "test_accuracy": float(test.score_embeds(embeds).accuracy),
                    "deployed_test_accuracy": float(test.score_text(read).accuracy),
                    "texts": texts,
                    "says": judge.interpret(read).as_json(name),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    args.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(args.tasks), sharey=True, squeeze=False)[0], args.tasks, strict=True):
        own = [row for row in rows if row["task"] == name]
        steps = [row["step"] for row in own]
        axes.plot(steps, [row["test_accuracy"] for row in own], color="#cc79a7", marker="D", label="the vectors")
        axes.plot(steps, [row["deployed_test_accuracy"] for row in own], color="#0072b2", marker="o", label="the text read off")
        axes.plot(steps, [row["distance"] for row in own], color="#999999", linestyle=":", label="distance from the start")
        axes.set_title(f"{name}: {own[0]['texts']['cosine']}\n→ {own[-1]['texts']['cosine']}", loc="left", fontsize=9)
        axes.set_xlabel("training steps")
    figure.axes[0].legend(frameon=False)
    figure.axes[0].set_ylabel("test accuracy; embedding units")
    figure.savefig(args.figure, dpi=120)


if __name__ == "__main__":
    main()
