"""Make the prompts of the reading benchmark: soft prompts of known origin, for `hardprompt benchmark`.

    python runs/reading_benchmark.py OUT microworld
    python runs/reading_benchmark.py OUT smollm2 --data DIR

DIR holds the real data (`fewshot/`, `relations/`). Each prompt is a file in OUT/LM, so that the same command resumes. At the
end all of them are written to OUT/LM.safetensors and OUT/LM.jsonl; the package holds these two files.

Kinds of prompts, each with the text that describes it, if there is one:

    trained         prompt tuning on the task
    planted         the embeddings of a reference prompt
    noisy           the same, with normal noise of a quarter of the embeddings' standard deviation
    distilled       random vectors, trained to imitate a reference prompt on the train inputs
    wayward         trained on the task, and to project to another text
    two tasks       trained on the examples of two tasks with the same inputs
    untrained       normal noise with the embeddings' mean and standard deviation
    shuffled        the coordinates of the trained vectors in a random order
    label-shuffled  trained on the task with its answers in a random order
    other task      the trained vectors of another task
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hardprompt import (
    Example,
    FrozenLM,
    HardPrompt,
    Problem,
    SoftPrompt,
    Task,
    load_lm,
    load_optimizer,
    load_task,
    run_optimizer,
)
from hardprompt.experiments.wayward.grid import WaywardGrid, best_checkpoint, train_checkpoints
from hardprompt.experiments.wayward.targets import wayward_targets
from hardprompt.lm.chat import template_of
from hardprompt.lm.microworld import world
from hardprompt.optimizers.wayward import target_prompt
from hardprompt.readings import ReadingProblem
from hardprompt.records.request import StudyRequest
from hardprompt.study.loading import load_tasks

NOISE = 0.25
GAMMAS = (0.1, 1.0)
LIMIT, TRAIN, DEV = 200, 96, 48
DEFINITIONS, OTHER_TARGETS = ("same inputs", "other inputs"), ("contradiction", "prose")
PAIRS = (("capital", "currency"), ("past-tense", "opposite"))

REVIEWS = {"template": "Review: {input}\n{prompt}", "label_words": {"negative": "negative", "positive": "positive"}}
NEWS = {
    "template": "News: {input}\n{prompt}",
    "label_words": {"World": "World", "Sports": "Sports", "Business": "Business", "Tech": "Technology"},
}
REAL: dict[str, tuple[str, dict[str, Any], tuple[str, str]]] = {
    "sst2": ("fewshot/sst-2", {"splits": ("13",), **REVIEWS}, ("Sentiment:", "The sentiment of this review is")),
    "mr": ("fewshot/mr", {"splits": ("13",), **REVIEWS}, ("Sentiment:", "The tone of the review is")),
    "agnews": ("fewshot/agnews", {"splits": ("13",), **NEWS}, ("Category:", "The category of this news is")),
    "country-capital": ("relations", {"template": "{input}\n{prompt}"}, ("Capital:", "The capital of this country is")),
    "present-past": ("relations", {"template": "{input}\n{prompt}"}, ("Past tense:", "The past tense of this verb is")),
    "singular-plural": ("relations", {"template": "{input}\n{prompt}"}, ("Plural:", "The plural of this word is")),
    "landmark-country": ("relations", {"template": "{input}\n{prompt}"}, ("Country:", "This landmark is in the country")),
}
"""Data, fields of the request, and a short and a long instruction of each real task."""

REAL_TUNE = ("singular-plural", "landmark-country")

Made = tuple[Tensor, str | None]


def embedded(division: str) -> list[Task]:
    """The embedded tasks of a division."""
    return [load_task(name) for name, source in world.TASKS.items() if source.division == division]


def trained(task: Task, lm: FrozenLM, seed: int, lm_tokens: int | None) -> Tensor:
    """The vectors of prompt tuning."""
    problem = Problem(task, lm, seed=seed, lm_tokens=lm_tokens)
    return vectors(run_optimizer(load_optimizer("soft"), problem).best.prompt)


def distilled(text: str, task: Task, lm: FrozenLM, lm_tokens: int | None) -> Tensor:
    """Vectors that imitate a text on the train inputs."""
    target = HardPrompt.in_place(lm, template_of(lm, task), text)
    inputs = [example.input for example in task.train]
    problem = ReadingProblem(target, task, lm, inputs, max_length=5, lm_tokens=lm_tokens)
    return vectors(run_optimizer(load_optimizer("soft"), problem).best.prompt)


def wayward(task: Task, lm: FrozenLM, text: str) -> Tensor:
    """Vectors that solve the task and project to a text."""
    goal = target_prompt(lm, template_of(lm, task), text)
    problem = Problem(task, lm, prompt_length=len(goal.ids), vocabulary="all")
    grid = WaywardGrid()
    return best_checkpoint([each for gamma in GAMMAS for each in train_checkpoints(problem, goal, gamma, grid)]).embeds


def vectors(prompt: HardPrompt | SoftPrompt) -> Tensor:
    """The vectors of a soft prompt."""
    assert isinstance(prompt, SoftPrompt)
    return prompt.embeds


def embeddings(lm: FrozenLM, task: Task, text: str) -> Tensor:
    """The embeddings of the tokens of a text in its place."""
    return lm.vocab_embeds[list(HardPrompt.in_place(lm, template_of(lm, task), text).ids)].float()


def with_shuffled_answers(task: Task, generator: torch.Generator) -> Task:
    """The task with the answers of its train and dev examples in a random order."""

    def shuffled(examples: tuple[Example, ...]) -> list[Example]:
        order = torch.randperm(len(examples), generator=generator).tolist()
        return [replace(each, answer=examples[i].answer) for each, i in zip(examples, order, strict=True)]

    return replace(task, train=shuffled(task.examples("train")), dev=shuffled(task.examples("dev")))


def recipes(
    lm: FrozenLM, tasks: list[Task], number: int, lm_tokens: int | None, made: dict[str, Tensor]
) -> Iterator[tuple[str, Callable[[], Made]]]:
    """The kind of each prompt of one task, and a function that makes its vectors and returns the text that describes them.

    `made` holds the prompts that exist; those of kind "trained" of all tasks exist before the others are made.
    """
    task, other = tasks[number], tasks[(number + 1) % len(tasks)]
    generator = torch.Generator().manual_seed(number)
    spread, mean = float(lm.vocab_embeds.float().std()), lm.vocab_embeds.float().mean(0)
    short, long = task.reference_prompts[0], task.reference_prompts[1]
    noise = spread * torch.randn(5, len(mean), generator=generator)
    order = torch.randperm(len(mean), generator=generator)
    real = not task.embedded
    tune = task.name in REAL_TUNE or task.division == "tune"
    yield "trained", lambda: (trained(task, lm, 0, lm_tokens), None)
    if real and not tune:
        yield "trained-1", lambda: (trained(task, lm, 1, lm_tokens), None)
    yield "planted", lambda: (embeddings(lm, task, short), short)
    if real:
        yield "planted-1", lambda: (embeddings(lm, task, long), long)
    else:
        own = embeddings(lm, task, long)
        added = NOISE * spread * torch.randn(own.shape, generator=generator)
        yield "noisy", lambda: (own + added, long)
    if not (real and tune):
        yield "distilled", lambda: (distilled(short, task, lm, lm_tokens), short)
    yield "untrained", lambda: (mean + noise, None)
    yield "shuffled", lambda: (made[f"{task.name}/trained"][:, order], None)
    if real:
        return
    mixed_up = with_shuffled_answers(task, generator)
    yield "label-shuffled", lambda: (trained(mixed_up, lm, 0, lm_tokens), None)
    yield "other task", lambda: (made[f"{other.name}/trained"], None)
    if tune:
        return
    targets = wayward_targets(task, [each for each in tasks if each is not task])
    definition = next(kind for kind in DEFINITIONS if kind in targets)
    for kind, text in targets.items():
        if kind in (definition, *OTHER_TARGETS):
            yield f"wayward-{kind}", lambda text=text: (wayward(task, lm, text), text)  # type: ignore[misc]
    for one, two in PAIRS:
        if task.name == one:
            second = next(each for each in tasks if each.name == two)
            both = replace(task, train=[*task.train, *second.train], dev=[*task.dev, *second.dev])
            yield "two tasks", lambda both=both: (trained(both, lm, 0, lm_tokens), None)  # type: ignore[misc]


def real_tasks(data: Path) -> dict[str, Task]:
    """The real tasks with their instructions as reference prompts."""
    found = {}
    for name, (folder, fields, instructions) in REAL.items():
        request = StudyRequest.make(task=name, data=str(data / folder), limit=LIMIT, **fields)
        [task] = load_tasks(request).values()
        found[name] = replace(task, reference_prompts=instructions, train=task.train[:TRAIN], dev=task.dev[:DEV])
    return found


def main() -> None:
    """Make the prompts of one model that are missing, and write the files of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("lm", choices=["microworld", "smollm2"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    lm = load_lm(args.lm, dtype=args.dtype)
    if args.lm == "microworld":
        groups = [("report", embedded("report"), None), ("tune", embedded("tune")[::3], None)]
    else:
        real = real_tasks(args.data)
        groups = [
            (division, [task for name, task in real.items() if (name in REAL_TUNE) == (division == "tune")], 60_000)
            for division in ("tune", "report")
        ]
    folder = args.out / args.lm
    folder.mkdir(parents=True, exist_ok=True)
    entries, prompts = [], {}
    for division, tasks, lm_tokens in groups:
        planned = [
            (task, kind, make)
            for number, task in enumerate(tasks)
            for kind, make in recipes(lm, tasks, number, lm_tokens, prompts)
        ]
        order = {"trained": 0, "trained-1": 2}
        for task, kind, make in sorted(planned, key=lambda each: order.get(each[1], 1)):
            name = f"{task.name}/{kind}"
            file = folder / f"{name.replace('/', '--').replace(' ', '-')}.safetensors"
            if not file.exists():
                found, text = make()
                save_file({"vectors": found.to(torch.float16).contiguous()}, file, {"text": text or ""})
                print(name, flush=True)
            with safe_open(file, "pt") as opened:
                described = opened.metadata()["text"] or None
            prompts[name] = load_file(file)["vectors"]
            shown = kind if kind == "label-shuffled" else kind.partition("-")[0]
            fields = {} if task.embedded else {"data": REAL[task.name][0], "limit": LIMIT, **REAL[task.name][1]}
            entry = {"name": name, "lm": args.lm, "task": task.name, "kind": shown, "division": division, "text": described}
            entries.append(entry | {"fields": fields, "instructions": task.reference_prompts[:2]})
    save_file(prompts, args.out / f"{args.lm}.safetensors")
    (args.out / f"{args.lm}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


if __name__ == "__main__":
    main()
