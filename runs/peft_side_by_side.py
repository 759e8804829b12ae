"""Prompt tuning by the package peft and by the optimizer `soft`, on the same data, batches, steps, seed and initial vectors.

    python -m runs.peft_side_by_side
    python -m runs.peft_side_by_side --task review-sentiment --template '{prompt} {input}:'
    python -m runs.peft_side_by_side --lm smollm2 --steps 10 --batch-size 16

`soft` runs first. Its batches and initial vectors are then given to a model of peft, which is trained by AdamW with the same
learning rates. The loss of a generation task is the one that peft computes with `labels=`, without the end of the answer. The
loss of a classification task is the cross-entropy over the label words, computed from the logits of the model of peft. The
script prints the largest difference of the two losses, the median time of a step, and the additional peak memory of a step.

In peft the trained vectors come before everything else. So the prompt must come first in the template, and the model reads no
start token (`--start none`).
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from hardprompt.adapter import virtual_tokens
from hardprompt.data.task import Task, Template
from hardprompt.errors import HardpromptError, RequestError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.loading import quiet_transformers
from hardprompt.optimizers import Problem, load_optimizer
from hardprompt.optimizers.soft_training import SoftTrainingConfig
from hardprompt.prompt import SoftPrompt
from hardprompt.records.request import StudyRequest
from hardprompt.scoring.answers import label_ids
from hardprompt.study.loading import load_model, load_tasks
from runs import bench


@dataclass
class Training:
    """What one side did: the loss (nats per example) before each step, its seconds, and the last vectors (L, d)."""

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    embeds: Tensor = field(default_factory=lambda: torch.empty(0, 0))


class ObservedProblem(Problem):
    """A problem that keeps its batches and the time between a batch and the evaluation on dev that follows it."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.batches: list[list[int]] = []
        self.seconds: list[float] = []
        self._started = 0.0

    def batch(self, size: int) -> list[int]:
        self.batches.append(super().batch(size))
        self._started = time.perf_counter()
        return self.batches[-1]

    def score_soft_on_dev(self, embeds: Tensor, penalty: float = 0.0) -> Any:
        bench.wait()
        if self.batches:
            self.seconds.append(time.perf_counter() - self._started)
        return super().score_soft_on_dev(embeds, penalty)


class PeftTraining:
    """Prompt tuning by peft on the examples of a task. Texts are tokenized in advance and padded on the right."""

    def __init__(self, lm: FrozenLM, task: Task, start: Tensor) -> None:
        self.lm, self.task = lm, task
        self.model = bench.peft_model(lm, len(start))
        self.weight = self.model.prompt_encoder["default"].embedding.weight
        self.weight.data.copy_(start)
        self.ids = lm.encode_after([task.template.around(example.input)[1] for example in task.train])
        self.answers = lm.encode_after([task.separator + example.answer for example in task.train])
        self.label_ids = label_ids(lm, task) if task.label_words else None

    def step(self, updater: torch.optim.Optimizer, indices: Sequence[int]) -> float:
        """The loss on these examples, and a step."""
        loss = self.loss(indices)
        updater.zero_grad()
        loss.backward()
        updater.step()
        return loss.item()

    def loss(self, indices: Sequence[int]) -> Tensor:
        """The loss on these examples, in nats per example."""
        read = [self.ids[i] + ([] if self.task.label_words else self.answers[i]) for i in indices]
        width = max(map(len, read))
        fed = {
            "input_ids": [ids + [0] * (width - len(ids)) for ids in read],
            "attention_mask": [[1] * len(ids) + [0] * (width - len(ids)) for ids in read],
        }
        if self.label_ids is None:
            fed["labels"] = [
                [-100] * len(self.ids[i]) + self.answers[i] + [-100] * (width - len(ids))
                for i, ids in zip(indices, read, strict=True)
            ]
        out = self.model(**{name: torch.tensor(value, device=self.lm.device) for name, value in fed.items()})
        if self.label_ids is None:
            return out.loss * sum(len(self.answers[i]) for i in indices) / len(indices)  # peft gives nats per token
        virtual = out.logits.shape[1] - width
        ends = torch.tensor([virtual + len(ids) - 1 for ids in read], device=self.lm.device)
        logits = out.logits[torch.arange(len(read), device=self.lm.device), ends][:, self.label_ids]
        labels = torch.tensor([self.task.labels.index(self.task.train[i].answer) for i in indices], device=self.lm.device)
        return torch.nn.functional.cross_entropy(logits.float(), labels)


def train_soft(problem: ObservedProblem, config: SoftTrainingConfig) -> Training:
    """Train by the optimizer `soft`, with an evaluation on dev after every step, whose time is not counted."""
    last = load_optimizer("soft").search(problem, config.model_copy(update={"evaluate_every": 1}))
    assert isinstance(last, SoftPrompt)
    return Training([each["train_loss"] for each in problem.curve], problem.seconds, last.embeds)


def train_peft(tuned: PeftTraining, batches: Sequence[Sequence[int]], rate: float, config: SoftTrainingConfig) -> Training:
    """Train by peft on the same batches with the same learning rates."""
    updater = torch.optim.AdamW([tuned.weight], lr=rate, weight_decay=config.weight_decay)
    done = Training()
    for step, indices in enumerate(batches):
        if config.schedule == "linear":
            updater.param_groups[0]["lr"] = rate * (1 - step / len(batches))
        started = time.perf_counter()
        done.losses.append(tuned.step(updater, indices))
        bench.wait()
        done.seconds.append(time.perf_counter() - started)
    done.embeds = tuned.weight.detach()
    return done


def as_in_peft(task: Task, lm: FrozenLM) -> Task:
    """The task with the loss that peft computes.

    Raises:
        RequestError: the prompt is not at the very start of what the model reads.
    """
    task = task if task.label_words else replace(task, match="starts-with")
    before = virtual_tokens(SoftPrompt(lm.vocab_embeds[:1]), lm, task.template)[1]
    if before:
        raise RequestError(
            f"{before} tokens come before the prompt in {task.template.text!r}, which peft would train too; "
            "use --start none and a template that begins with {prompt}"
        )
    return task


def compared(task: Task, lm: FrozenLM, config: SoftTrainingConfig, length: int, seed: int) -> tuple[Training, Training]:
    """Both trainings, `soft` first.

    Raises:
        RequestError: the prompt is not at the very start of what the model reads.
        CannotRun: peft is not installed.
    """
    task = as_in_peft(task, lm)
    problem = ObservedProblem(task, lm, prompt_length=length, seed=seed)
    ours = train_soft(problem, config)
    start = problem.candidates[0].prompt
    assert isinstance(start, SoftPrompt)
    rate = config.learning_rate if config.learning_rate is not None else problem.resolved_options["learning_rate"]
    return ours, train_peft(PeftTraining(lm, task, start.embeds), problem.batches, rate, config)


def peaks(task: Task, lm: FrozenLM, config: SoftTrainingConfig, length: int, seed: int) -> tuple[int, int]:
    """The additional peak memory of a step of `soft` and of peft, in bytes, without that of the weights."""
    task = as_in_peft(task, lm)
    problem = Problem(task, lm, prompt_length=length, seed=seed)
    indices, start = problem.batch(config.batch_size), lm.vocab_embeds[problem.random_ids(1)[0]].float()
    tuned = PeftTraining(lm, task, start)
    updater = torch.optim.AdamW([tuned.weight], lr=0.0)

    def ours() -> None:
        embeds = start.clone().requires_grad_()
        torch.autograd.grad(problem.train.score_embeds(embeds, indices).loss.mean(), embeds)

    def theirs() -> None:
        tuned.step(updater, indices)

    for call in (ours, theirs):
        call()  # what a first call allocates once
    return bench.peak(ours)[0], bench.peak(theirs)[0]


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lm", default="microworld")
    parser.add_argument("--task", default="category")
    parser.add_argument("--template")
    parser.add_argument("--start", default="none", help="the tokens before every text")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--prompt-length", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        config = load_optimizer("soft").configure({"steps": given.steps, "batch_size": given.batch_size})
        request = StudyRequest.make(
            task=given.task, lm=given.lm, start=given.start, device=given.device, prompt_length=given.prompt_length
        )
        [task] = load_tasks(request).values()
        if given.template:
            task = replace(task, template=Template(given.template))
        bench.DEVICE = given.device
        lm = load_model(request)
        with quiet_transformers():
            ours, theirs = compared(task, lm, config, given.prompt_length, given.seed)
            memory = peaks(task, lm, config, given.prompt_length, given.seed)
    except (HardpromptError, bench.CannotRun) as error:
        parser.exit(2, f"{error}\n")
    difference = max(abs(one - other) for one, other in zip(ours.losses, theirs.losses, strict=True))
    times = median(theirs.seconds) / median(ours.seconds)
    print(
        f"{given.lm}, {given.task}, {lm.device}: "
        f"{given.steps} steps, batches of {given.batch_size}, {given.prompt_length} vectors"
    )
    print(f"loss at the first and the last step: soft {ours.losses[0]:.4f} and {ours.losses[-1]:.4f}, "
          f"peft {theirs.losses[0]:.4f} and {theirs.losses[-1]:.4f}")  # fmt: skip
    print(f"largest difference of the losses of a step: {difference:.1e} nats per example")
    print(f"largest difference of the last vectors: {float((ours.embeds - theirs.embeds).abs().max()):.1e}")
    print(f"median step: soft {median(ours.seconds):.4f} s, peft {median(theirs.seconds):.4f} s (ratio {times:.2f})")
    print(f"peak memory of a step: soft {memory[0] / 2**20:.0f} MB, peft {memory[1] / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
