"""Does a small trained adapter translate soft prompts into instructions, also those of tasks that it has not seen?

    python runs/translator.py OUT

OUT/soft receives a file for each soft prompt of the embedded model (5 CPU minutes; can be resumed): 12 seeds of each `tune`
task and 3 of each `report` task, with 3, 5 or 8 vectors. The adapter of the reader `translator` is trained on 9 seeds of 18
tune tasks (1 CPU minute) and written to OUT/translator.safetensors. Four tune tasks are held out and decide when the training
stops; the report tasks decide nothing. Half of the examples are planted: the embeddings of a random instruction, with noise.

For each group of tasks, the table has the mean KL divergence of the best text (nats per answer), as `ReadingProblem` measures
it on 16 dev inputs, and the share of soft prompts for which the accuracy of this text on 100 test examples is at most 0.1 below
that of the vectors. The texts for another task are controls: they are chosen by their KL divergence as the others are, but were
written behind the vectors of another task.
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean

import torch
from torch import Tensor

from hardprompt import FrozenLM, HardPrompt, Scorer, SoftPrompt, load_lm, load_task, optimize
from hardprompt.adapter import read_vectors
from hardprompt.lm.microworld import world
from hardprompt.optimizers.candidate import Candidate
from hardprompt.readings import ReadingProblem, nearest, run_reader, translator
from hardprompt.readings.translator import Adapter, save_adapter, translation_loss
from hardprompt.records.folder import as_safetensors

LENGTHS = (3, 5, 8)
TUNE = [name for name, task in world.TASKS.items() if task.division == "tune"]
REPORT = [name for name, task in world.TASKS.items() if task.division == "report"]
HELD_OUT = TUNE[2::5]
SEEN = [name for name in TUNE if name not in HELD_OUT]
SEEDS = {name: 12 if name in TUNE else 3 for name in world.TASKS}
KEPT = 3
"""Number of soft prompts of each task that the adapter is measured on and not trained on."""

Example = tuple[Tensor, list[int]]


def make_soft_prompts(folder: Path, lm: FrozenLM) -> None:
    """Train the soft prompts that are missing, one file for each, seed by seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(max(SEEDS.values())):
        for name in (name for name in world.TASKS if seed < SEEDS[name]):
            file = folder / f"{name}-{seed}.safetensors"
            if file.exists():
                continue
            task = load_task(name)
            found = optimize(
                replace(task, dev=task.dev[:16]),
                lm,
                "soft",
                seed=seed,
                prompt_length=LENGTHS[seed % len(LENGTHS)],
                steps=60,
                batch_size=8,
                learning_rate=0.03,
                evaluate_every=60,
            )
            partial = file.with_suffix(".part")
            partial.write_bytes(as_safetensors(found.best.prompt.embeds))
            partial.rename(file)


def soft_prompts(folder: Path, name: str) -> list[Tensor]:
    """The soft prompts of a task, by seed."""
    return [vectors for seed in range(SEEDS[name]) for vectors in read_vectors(folder / f"{name}-{seed}.safetensors").values()]


class Examples:
    """Draws examples: the vectors of a soft prompt, and the token ids of an instruction for its task."""

    def __init__(self, lm: FrozenLM, prompts: dict[str, list[Tensor]], noise: float, seed: int = 0) -> None:
        self._lm, self._prompts, self._noise = lm, prompts, noise * float(lm.vocab_embeds.std())
        self._rng, self._generator = Random(seed), torch.Generator().manual_seed(seed)
        self.references = {name: self._encoded(name, world.TASKS[name].skill.reference_prompts) for name in prompts}

    def draw(self, count: int) -> list[Example]:
        """Half of the examples are trained soft prompts, the others planted ones."""
        names = [self._rng.choice(list(self._prompts)) for _ in range(count)]
        found = [self._planted(name) if i % 2 else self._trained(name) for i, name in enumerate(names)]
        return [(vectors + self._noise * torch.randn(vectors.shape, generator=self._generator), ids) for vectors, ids in found]

    def _trained(self, name: str) -> Example:
        return self._rng.choice(self._prompts[name]), self._rng.choice(self.references[name])

    def _planted(self, name: str) -> Example:
        task = world.TASKS[name]
        asked = f"{self._rng.choice(task.domain.verbs)} {self._rng.choice(task.skill.objects)}"
        [ids] = self._encoded(name, [self._rng.choice([asked, *task.skill.sentences])])
        return self._lm.vocab_embeds[ids], ids

    def _encoded(self, name: str, texts: Sequence[str]) -> list[list[int]]:
        template = load_task(name).template
        return [list(HardPrompt.from_text(self._lm, text, template).ids) for text in texts]


def train(
    lm: FrozenLM, trained: dict[str, list[Tensor]], stopping: dict[str, list[Tensor]], steps: int = 200, noise: float = 0.5
) -> Adapter:
    """The adapter with the least loss on the reference prompts of the tasks in `stopping`, measured every 25 steps."""
    adapter = Adapter.untrained(lm)
    updater = torch.optim.AdamW(adapter.parameters(), lr=1e-3, weight_decay=0.01)
    examples = Examples(lm, trained, noise)
    others = Examples(lm, stopping, 0.0).references
    checked = [(vectors, ids) for name in stopping for vectors in stopping[name] for ids in others[name]]
    least, best = float("inf"), adapter
    for step in range(1, steps + 1):
        vectors, texts = zip(*examples.draw(32), strict=True)
        loss = translation_loss(adapter, lm, vectors, texts)
        updater.zero_grad()
        loss.backward()
        updater.step()
        if step % 25 == 0:
            with torch.no_grad():
                of_others = float(translation_loss(adapter, lm, *zip(*checked, strict=True)))
            print(f"step {step}: loss {loss.item():.3f}, of held-out tasks {of_others:.3f}", flush=True)
            if of_others < least:
                least, best = of_others, deepcopy(adapter)
    return best


Row = dict[str, tuple[float, float]]


def another(name: str, same_domain: bool) -> str:
    """A random task of the same domain or of another one, one that the adapter has not seen if there is any."""
    tasks = world.TASKS
    found = [other for other in tasks if other != name and (tasks[other].domain is tasks[name].domain) == same_domain]
    return Random(name).choice([other for other in found if other not in SEEN] or found)


def measured(lm: FrozenLM, name: str, count: int, prompts: dict[str, list[Tensor]], file: Path) -> list[Row]:
    """For `count` soft prompts and each method, the KL divergence of the best text and its test accuracy minus the vectors'."""
    task = load_task(name)
    test = Scorer(lm, task, task.test[:100])
    inputs = [example.input for example in task.dev[:16]]
    config = {"file": str(file)}
    controls = {}
    for control, same_domain in (("its texts for another task of the domain", True), ("its texts for another domain", False)):
        problem = ReadingProblem(SoftPrompt(prompts[another(name, same_domain)][-1]), task, lm, inputs[:1])
        run_reader(translator, problem, config)
        controls[control] = [ids_of(candidate) for candidate in problem.candidates]
    rows = []
    for vectors in prompts[name][-count:]:
        problem = ReadingProblem(SoftPrompt(vectors), task, lm, inputs, samples=1)
        run_reader(translator, problem, config)
        translated = list(problem.candidates)
        groups = {
            "translator": translated,
            "its greedy text": translated[:1],
            **{control: scored(problem, texts) for control, texts in controls.items()},
            "nearest tokens": scored(problem, nearest.search(problem, nearest.config())),
            "empty text": scored(problem, [[]]),
        }
        of_vectors = float(test.score_embeds(vectors).accuracy)
        best = {method: min(found, key=lambda candidate: candidate.dev_task_loss) for method, found in groups.items()}
        accuracy = test.score_ids([ids_of(candidate) for candidate in best.values()]).accuracy.tolist()
        rows.append(
            {
                method: (each.dev_task_loss, right - of_vectors)
                for (method, each), right in zip(best.items(), accuracy, strict=True)
            }
        )
        print(f"- {name}: {best['translator'].prompt.text!r}, {best['translator'].dev_task_loss:.2f} nats", flush=True)
    return rows


def scored(problem: ReadingProblem, texts: Sequence[Sequence[int]]) -> list[Candidate]:
    """The candidates that these texts become."""
    before = len(problem.candidates)
    problem.score_on_dev(texts)
    return problem.candidates[before:]


def ids_of(candidate: Candidate) -> tuple[int, ...]:
    """The token ids of a candidate that is a text."""
    assert isinstance(candidate.prompt, HardPrompt)
    return candidate.prompt.ids


def main() -> None:
    """Make the soft prompts and the adapter if they are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    lm, file = load_lm("microworld"), given.out / "translator.safetensors"
    make_soft_prompts(given.out / "soft", lm)
    prompts = {name: soft_prompts(given.out / "soft", name) for name in world.TASKS}
    if not file.exists():
        trained, stopping = ({name: prompts[name][:-KEPT] for name in names} for names in (SEEN, HELD_OUT))
        save_adapter(train(lm, trained, stopping), lm, file)
    rows = {}
    for group, (names, count) in {"held-out tune": (HELD_OUT, KEPT), "report": (REPORT, KEPT), "seen tune": (SEEN, 1)}.items():
        rows[group] = [row for name in names for row in measured(lm, name, count, prompts, file)]
    heads = [f"{group}: KL | within 0.1" for group in rows]
    print(f"\n| text | {' | '.join(heads)} |\n|{'---|' * (1 + 2 * len(rows))}")
    for method in rows["report"][0]:
        found = [[row[method] for row in of_group] for of_group in rows.values()]
        cells = [f"{mean(kl for kl, _ in each):.2f} | {mean(gain >= -0.1 for _, gain in each):.2f}" for each in found]
        print(f"| {method} | {' | '.join(cells)} |")
    print("\nsoft prompts: " + ", ".join(f"{len(of_group)} of {group} tasks" for group, of_group in rows.items()))


if __name__ == "__main__":
    main()
