"""Geometry of soft prompts: measures by hand or against slow versions, planted data in which findings hold or fail, and a study
that resumes after an interruption with the same numbers."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from safetensors.torch import save_file

from hardprompt import load_task
from hardprompt.errors import RequestError, RunError, StudyError, UnknownName
from hardprompt.experiments.geometry.analysis import PromptVectors, analyze_vectors, task_words
from hardprompt.experiments.geometry.record import GeometryRecord, Trained
from hardprompt.experiments.geometry.report import geometry_command, geometry_page, sheets, spots
from hardprompt.experiments.geometry.request import WORDS, WORDS_OF, GeometryRequest
from hardprompt.experiments.geometry.run import geometry
from hardprompt.experiments.geometry.training import initial_tokens, prompt_seed, train_prompts
from hardprompt.lm import FrozenLM
from hardprompt.metrics import geometry as measures
from hardprompt.metrics.geometry import (
    correlation_interval,
    correlations,
    crossed_interval,
    distances,
    mean_correlation,
    mean_distance,
    mean_distance_by,
    mean_to_group,
    neighbour_counts,
    neighbours,
    pair_groups,
    per_prompt,
    task_distances,
    vector_distances,
)
from hardprompt.metrics.token_kinds import KINDS, token_kind, vocabulary_kinds
from hardprompt.report.tables import write_csv
from tests.helpers import Ask
from tests.helpers.pages import HOSTILE, Reader
from tests.helpers.tiny import save_tiny, tiny_lm

TASKS = """
from hardprompt import Example, Task, Template
def make(name, answers):
    words = ["cat", "dog", "house", "film", "food", "music"]
    examples = [Example(word, answer) for word, answer in zip(words, answers)]
    return Task(name=name, template=Template("{prompt} : {input} is"), train=examples, dev=examples[:3], test=examples[3:])
one = make("one", ["good", "bad", "great", "good", "bad", "great"])
two = make("two", ["red", "green", "blue", "red", "green", "blue"])
three = make("three", ["yes", "no", "yes", "no", "yes", "no"])
"""


@pytest.fixture
def tiny_study(here: Path) -> GeometryRequest:
    """Three tasks and two words on a tiny model in the current folder; two steps a prompt."""
    save_tiny(here / "tiny")
    (here / "t.py").write_text(TASKS, encoding="utf-8")
    tasks = ("t.py:one", "t.py:two", "t.py:three")
    return GeometryRequest.make(tasks=tasks, words=("film", "food"), lm="tiny", device="cpu", tokens=3, epochs=2, batch_size=3)


# Distances


def test_distances_computed_by_hand() -> None:
    """Vectors at a right angle, opposite and parallel; a triangle with sides 3, 4 and 5.

    Equal vectors have distance exactly 0.
    """
    one, other = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 4.0], [-1.0, 0.0], [7.0, 7.0]])
    expected = [[1.0, 2.0, 1 - 0.5**0.5], [1 - 0.5**0.5, 1 + 0.5**0.5, 0.0]]
    np.testing.assert_allclose(distances(one, other), expected, atol=1e-12)
    assert distances(one, other, "euclidean")[0].tolist() == [5.0, 4.0, (16 + 49) ** 0.5]
    assert (distances(one, one) >= 0).all() and distances(one, one, "euclidean").diag().tolist() == [0.0, 0.0]
    with pytest.raises(UnknownName, match="no distance 'dot'"):
        distances(one, other, "dot")


def test_groups_of_pairs_counted_by_hand() -> None:
    """With 2 tasks, 2 words and 2 positions, of 7 other vectors 3 share the word, 3 the task, 3 the position, 1 the prompt."""
    task = torch.arange(2).repeat_interleave(4)
    word, position = torch.arange(2).repeat_interleave(2).repeat(2), torch.arange(2).repeat(4)
    counts = {name: (pairs.sum() - pairs.diag().sum()).item() / 8 for name, pairs in pair_groups(task, word, position).items()}
    published = {"same word": 3, "same task": 3, "same position": 3, "all": 7}
    assert counts == published | {"same prompt": 1, "word only": 2, "task only": 2, "neither": 2}


def test_mean_distances_with_and_without_self_pairs() -> None:
    """Points 0, 1 and 5 have distances 1, 5 and 4. The mean of n vectors with self-pairs is (n - 1) / n of the mean without."""
    line = torch.tensor([[0.0], [1.0], [5.0]])
    between, every = distances(line, line, "euclidean"), torch.ones(3, 3).bool()
    assert mean_distance(between, every) == pytest.approx(10 / 3)
    assert mean_distance(between, every, self_pairs=True) == pytest.approx(10 / 3 * 2 / 3)
    assert mean_distance(between, torch.eye(3).bool()) is None
    assert mean_distance_by(between, torch.tensor([0, 0, 1])) == [1.0, None]
    assert mean_distance_by(between, torch.tensor([0, 0, 1]), self_pairs=True) == [0.5, 0.0]
    assert mean_to_group(between, every).tolist() == [3.0, 2.5, 4.5]


def test_the_published_correction_of_self_pairs() -> None:
    """The printed means of 24, 40 and 240 vectors (0.558, 0.688, 0.742) are 0.583, 0.705 and 0.745 without self-pairs."""
    for count, printed, corrected in ((24, 0.558, 0.583), (40, 0.688, 0.705), (240, 0.742, 0.745)):
        between = torch.full((count, count), corrected).fill_diagonal_(0.0)
        assert mean_distance(between, between >= 0, self_pairs=True) == pytest.approx(printed, abs=1.5e-3)


def test_prompts_by_task_and_word() -> None:
    values, task, word = torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1])
    found = per_prompt(values, task, word)
    assert found[0, 0] == 2 and found[1, 1] == 6 and found[0, 1].isnan() and found[1, 0].isnan()


# Neighbourhoods


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("measure", measures.DISTANCES)
def test_neighbours_agree_with_a_plain_loop(monkeypatch: pytest.MonkeyPatch, chunk: int, measure: str) -> None:
    monkeypatch.setattr(measures, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(11, 4, generator=generator)
    own = torch.tensor([2, 7, 10])
    between = distances(rows[own], rows, measure)
    found = neighbours(rows[own], rows, (0.7, 1.5), 3, own, measure)
    for i, row in enumerate(own.tolist()):
        others = sorted((float(between[i, j]), j) for j in range(11) if j != row)
        assert found.rows[i].tolist() == [j for _, j in others[:3]]
        assert found.within[:, i].tolist() == [sum(value < epsilon for value, _ in others) for epsilon in (0.7, 1.5)]
    assert neighbours(rows[own], rows, (1e-9,), 1).within.tolist() == [[1, 1, 1]], "without `own` each vector finds itself"


def test_neighbours_counted_by_hand() -> None:
    """Of vectors at 0, 10 and 90 degrees the first two are within 0.5 of each other.

    A distance of exactly 1 is not within 1.
    """
    angles = torch.tensor([0.0, 10.0, 90.0]).deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], -1)
    between, every = distances(vectors, vectors), torch.ones(3, 3).bool()
    assert neighbour_counts(between, every, 0.5).tolist() == [1, 1, 0]
    assert neighbour_counts(between, every, 0.5, self_pairs=True).tolist() == [2, 2, 1]
    right = torch.eye(2)
    assert neighbour_counts(distances(right, right), torch.ones(2, 2).bool(), 1.0).tolist() == [0, 0]


# Correlations and intervals


def test_task_distances_computed_by_hand() -> None:
    """Three tasks at (0, 0), (1, 3) and (5, 5) for one word, and at twice these positions for the other word."""
    prompts = torch.tensor([[0.0, 0.0], [1.0, 3.0], [5.0, 5.0]])
    embeds = torch.stack([prompts, 2 * prompts], 1)[..., None]
    assert task_distances(embeds, "euclidean").tolist() == [[2.0, 5.0, 3.0], [4.0, 10.0, 6.0]]
    assert vector_distances(embeds, "euclidean").shape == (2, 15)
    assert vector_distances(embeds, "euclidean")[0].tolist()[:3] == [0.0, 1.0, 3.0]


def test_correlations_agree_with_scipy() -> None:
    generator = torch.Generator().manual_seed(1)
    sequences = torch.rand(3, 8, generator=generator)
    found = correlations(sequences)
    for i in range(3):
        for j in range(3):
            assert found[i, j].item() == pytest.approx(scipy.stats.pearsonr(sequences[i], sequences[j]).statistic)
    weights = torch.tensor([1, 2, 0, 1, 3, 1, 0, 1])
    repeated = sequences.repeat_interleave(weights, -1)
    torch.testing.assert_close(correlations(sequences, weights.double()), correlations(repeated)), "a weight is a repetition"
    assert correlations(torch.tensor([[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]]))[0, 1].isnan()
    assert mean_correlation(found).item() == pytest.approx((found.sum() - 3).item() / 6)


def test_intervals_depend_on_the_source_of_variation() -> None:
    """A value that depends only on the task has a wide interval for any number of words; a constant has no width."""
    of_task = torch.tensor([0.0, 1.0, 2.0, 3.0])[:, None].expand(4, 50)
    found = crossed_interval(of_task)
    assert found.value == 1.5 and found.low < 0.8 and found.high > 2.2
    independent = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    narrow = crossed_interval(independent)
    assert crossed_interval(independent) == narrow != crossed_interval(independent, seed=1)
    assert narrow.low < 0.05 and narrow.high > -0.05 and narrow.high - narrow.low < 0.3
    assert crossed_interval(torch.tensor([[0.5, torch.nan], [0.5, 0.5]])).high == 0.5
    nothing = crossed_interval(torch.full((2, 2), torch.nan))
    assert nothing.value != nothing.value and nothing.low != nothing.low


def test_the_interval_of_a_correlation() -> None:
    """Positive control: the same distances around every word. Negative control: unrelated distances."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.rand(1, 15, generator=generator)
    alike = correlation_interval(shared + 0.05 * torch.rand(10, 15, generator=generator), 6)
    assert alike.low > 0.9 and alike.value > 0.95
    apart = correlation_interval(torch.rand(10, 15, generator=generator), 6)
    assert apart.low < 0 < apart.high


# Kinds of tokens


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (" house", "inflection"), ("House", "inflection"), ("HOUSES", "inflection"), ("'s", "none"), (" housed", "inflection"),
        (" household", "none"), ("hous", "none"), (" horse", "none"), (" the", "none"), ("17", "none"), ("!", "none"),
        ("д", "rare alphabet"), (" 猫", "rare alphabet"), ("é", "none"), ("\ufffd", "bytes"), ("\x1b", "bytes"), ("", "bytes"),
        ("\u202e", "bytes"), ("\n", "none"), ("StreamerBot", "web"), ("user_id", "web"), ("www", "web"), ("x86", "web"),
        (" .com", "web"), ("//", "none"), ("=1", "web"), ("McDonald", "web"),
    ],
)  # fmt: skip
def test_kinds_of_tokens(token: str, kind: str) -> None:
    """The prompts were initialized with `house`. Names such as McDonald are wrongly classified as web tokens."""
    assert token_kind(token, token, "house") == kind


def test_kinds_of_a_vocabulary(microworld: FrozenLM) -> None:
    kinds = vocabulary_kinds(microworld, "cat")
    cat = microworld.encode("cat")
    assert len(kinds) == microworld.vocab_embeds.shape[0] and set(kinds) <= set(KINDS)
    assert kinds[cat[0]] == "inflection" and "bytes" in kinds and "inflection" not in vocabulary_kinds(microworld)
    assert token_kind("<s>", "<s>", "cat", special=True) == token_kind("\x00", "<0x00>", "cat") == "bytes"


# Planted vectors


def planted(lm: FrozenLM, of_word: float, of_task: float, at: torch.Tensor | None = None, noise: float = 0.2) -> list[Trained]:
    """Sums of a direction per word, a direction per task and noise with these weights, around tokens if any are given."""
    generator = torch.Generator().manual_seed(0)
    width = lm.vocab_embeds.shape[1]
    words, tasks = (torch.randn(count, width, generator=generator) for count in (5, 3))
    names = ("plural", "past-tense", "capital")
    found = []
    for t, task in enumerate(names):
        for w, word in enumerate(("cat", "dog", "house", "table", "chair")):
            embeds = of_word * words[w] + of_task * tasks[t] + noise * torch.randn(4, width, generator=generator)
            found.append(Trained(embeds if at is None else at[t] + 0.01 * embeds, task, word, "planted"))
    return found


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["verdict"] for row in found["findings"]}


def test_findings_on_planted_vectors(microworld: FrozenLM) -> None:
    """The first finding holds for vectors placed by words, fails for vectors placed by tasks, and is undecided for noise."""
    by_word, by_task, noise = (
        analyze_vectors(planted(microworld, *shares), microworld) for shares in ((1.0, 0.3), (0.3, 1.0), (0.0, 0.0))
    )
    assert verdicts(by_word)["word over task"] == "holds" and verdicts(by_task)["word over task"] == "fails"
    assert verdicts(noise)["word over task"] == "undecided"
    assert verdicts(by_word)["same task closer, other words"] == verdicts(by_task)["same task closer, other words"] == "holds"
    assert verdicts(noise)["same task closer, other words"] != "holds"
    groups = by_word["distances"]["cosine"]["groups"]
    assert groups["same word"]["mean"] < groups["same task"]["mean"] < groups["all"]["mean"] < 1.1
    assert groups["same word"]["with_self_pairs"] == pytest.approx(groups["same word"]["mean"] * 11 / 12)
    assert verdicts(by_word)["unrelated"] == "undecided", "the words of the tasks are not known without the tasks"


def test_initial_words_distort_the_published_contrast_between_tasks(microworld: FrozenLM) -> None:
    """Fewer pairs share a word within a task (3 of 19) than overall (11 of 59), so words alone make tasks seem spread out."""
    found = verdicts(analyze_vectors(planted(microworld, 1.0, 0.0), microworld))
    assert found["same task closer"] == "fails" and found["same task closer, other words"] == "undecided"


def test_findings_on_vectors_near_tokens_and_far_from_tokens(microworld: FrozenLM) -> None:
    """Vectors near words of their task are related and close to tokens.

    Vectors far from tokens are unrelated and close together.
    """
    tasks = [load_task(name) for name in ("plural", "past-tense", "capital")]
    own = [sorted(task_words(task) - task_words(tasks[t - 1]) - task_words(tasks[t - 2])) for t, task in enumerate(tasks)]
    singles = [[ids[0] for ids in map(microworld.encode, words) if len(ids) == 1][:4] for words in own]
    near = analyze_vectors(
        planted(microworld, 1.0, 0.0, microworld.vocab_embeds[torch.tensor(singles)].float()), microworld, tasks
    )
    assert verdicts(near)["unrelated"] == "fails" and near["closest"]["soft"]["token"] < 0.05
    far = analyze_vectors(planted(microworld, 0.2, 0.2, torch.full((3, 4, 160), 3.0)), microworld, tasks)
    assert verdicts(far)["unrelated"] == "holds" and verdicts(far)["closer to soft"] == "holds"
    assert verdicts(far)["soft neighbours"] == "holds"
    row = next(row for row in far["neighbourhoods"] if row["epsilon"] == 0.7 and row["of"] == "soft" and not row["self_pairs"])
    assert (row["soft"], row["same_word"], row["same_task"], row["same_position"]) == (59, 11, 19, 14)
    published = next(
        row for row in far["neighbourhoods"] if row["epsilon"] == 0.7 and row["of"] == "soft" and row["self_pairs"]
    )
    assert published["soft"] == 60 and published["vocabulary"] == row["vocabulary"]


def test_equal_displacements_of_tasks_correlate(microworld: FrozenLM) -> None:
    """Displacements of tasks that are the same for every word correlate; displacements that differ by word do not."""
    generator = torch.Generator().manual_seed(2)
    names = [f"task {t}" for t in range(6)]
    size = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
    shift = size[:, None] * torch.randn(6, 160, generator=generator)
    words = torch.randn(5, 160, generator=generator)

    def world(shared: bool) -> list[Trained]:
        found = []
        for w in range(5):
            own = shift if shared else shift[torch.randperm(6, generator=generator)]
            found += [Trained((words[w] + own[t]).expand(4, 160), name, f"word {w}", "planted") for t, name in enumerate(names)]
        return found

    alike, apart = (analyze_vectors(world(shared), microworld) for shared in (True, False))
    assert verdicts(alike)["tasks alike across words"] == verdicts(alike)["tasks alike, at the least"] == "holds"
    assert verdicts(apart)["tasks alike across words"] != "holds" and verdicts(apart)["tasks alike, at the least"] == "fails"
    assert alike["correlations"]["cosine"]["prompts"]["length"] == 15


def test_the_control_consists_of_random_ordinary_tokens(microworld: FrozenLM) -> None:
    """There are as many different tokens as vectors, none of them special, and another seed draws other tokens."""
    places = PromptVectors(planted(microworld, 1.0, 1.0), microworld)
    drawn = places.random.tolist()
    assert len(set(drawn)) == len(drawn) == len(places.vectors) == 60
    assert not set(drawn) & set(microworld.tokenizer.all_special_ids)
    assert drawn != PromptVectors(planted(microworld, 1.0, 1.0), microworld, seed=1).random.tolist()


def test_soft_prompts_of_wrong_shape_are_refused(microworld: FrozenLM) -> None:
    good, *_ = planted(microworld, 1.0, 1.0)
    for wrong, says in (
        ([], "needs at least one soft prompt"),
        ([Trained(good.embeds, None, "cat", "x")], "a task and an initial word for each"),
        (
            [Trained(torch.zeros(4, 7), "plural", "cat", "x.npy")],
            r"x\.npy: a soft prompt of shape \(4, 7\) does not fit microworld",
        ),
        (
            [Trained(torch.full((4, 160), torch.inf), "plural", "cat", "x.npy")],
            r"x\.npy: the soft prompt has a number that is not finite",
        ),
        ([good, Trained(good.embeds[:2], "plural", "dog", "x")], "soft prompts of 2 and 4 vectors"),
    ):
        with pytest.raises(RequestError, match=says):
            analyze_vectors(wrong, microworld)


def test_a_single_prompt_has_no_findings(microworld: FrozenLM) -> None:
    """Without another prompt to compare with, there are no correlations and no verdicts."""
    found = analyze_vectors(planted(microworld, 1.0, 1.0)[:1], microworld)
    assert found["correlations"] is None and found["distances"]["cosine"]["groups"]["neither"]["mean"] is None
    assert set(verdicts(found).values()) == {"undecided"}
    json.dumps(found, allow_nan=False)


# Initial words


def test_initial_words_must_be_single_tokens(microworld: FrozenLM) -> None:
    assert initial_tokens(microworld, WORDS_OF["microworld"]) == [microworld.encode(word)[0] for word in WORDS_OF["microworld"]]
    with pytest.raises(
        RequestError, match="one token of microworld, but 'bird' is 4, 'paper' is 5, 'water' is 2; choose other"
    ):
        initial_tokens(microworld, WORDS)
    with pytest.raises(RequestError, match="are the same token of tiny-bert"):
        initial_tokens(tiny_lm("bert"), ["film", "Film"])
    with pytest.raises(RequestError, match="give at least one initial word"):
        initial_tokens(microworld, [])


def test_initial_words_take_a_leading_space_where_the_tokenizer_marks_it(shared: Path) -> None:
    """The ten published words are single tokens of a GPT-2-like vocabulary only with a leading space."""
    from hardprompt import load_lm

    lm = load_lm(str(shared / "models" / "english-mini"), device="cpu")
    tokens = initial_tokens(lm, WORDS)
    assert [lm.decode([token]) for token in tokens] == [f" {word}" for word in WORDS]
    assert len(lm.encode("cat")) == 2


def test_every_prompt_has_its_own_seed() -> None:
    seeds = {prompt_seed(seed, task, word) for seed in (0, 1) for task in ("a", "ab") for word in ("b", "c")}
    assert len(seeds) == 8 and all(0 <= seed < 2**32 for seed in seeds)


# The study


class Stop:
    """A listener that interrupts the study after a number of prompts."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.recorded: int | None = None

    def planned(self, folder: Path, prompts: int, recorded: int) -> None:
        self.recorded = recorded

    def finished(self, line: dict[str, Any]) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_an_interrupted_study_resumes_to_the_same_results(tiny_study: GeometryRequest, here: Path) -> None:
    """After an interruption with an incomplete line, only the missing prompts are trained, and the results are equal."""
    whole = train_prompts(tiny_study, here / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_prompts(tiny_study, here / "cut", Stop(2))
    record = GeometryRecord(here / "cut")
    kept = record.lines_path.read_text(encoding="utf-8")
    assert kept.count("\n") == 2
    with record.lines_path.open("a", encoding="utf-8") as file:
        file.write('{"task": "thr')
    stop = Stop(99)
    again = train_prompts(tiny_study, here / "cut", stop)
    assert stop.recorded == 2 and (here / "cut" / "prompts.torn").read_text(encoding="utf-8") == '{"task": "thr\n'
    assert again.lines_path.read_text(encoding="utf-8").startswith(kept)
    assert without_time(again.lines()) == without_time(whole.lines())
    for one, other in zip(whole.prompts(), again.prompts(), strict=True):
        assert torch.equal(one.embeds, other.embeds) and (one.task, one.word) == (other.task, other.word)
    moved = [line["moved"] for line in whole.lines()]
    assert min(moved) > 0 and len(set(moved)) == 6
    assert {line["steps"] for line in whole.lines()} == {4}, "two epochs of two batches"


def test_a_folder_holds_one_geometry_study(tiny_study: GeometryRequest, here: Path) -> None:
    record = train_prompts(tiny_study.model_copy(update={"tasks": tiny_study.tasks[:1]}), here / "out")
    with pytest.raises(StudyError, match=r"holds another study \(other tasks\); choose another --out"):
        train_prompts(tiny_study, here / "out")
    with pytest.raises(StudyError, match="is not empty and holds no geometry study"):
        train_prompts(tiny_study, here / "tiny")
    (here / "t.py").write_text(TASKS.replace('"cat"', '"dog"'), encoding="utf-8")
    with pytest.raises(StudyError, match="the task data have changed"):
        train_prompts(record.request, here / "out")
    record.lines_path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"prompts\.jsonl:1: not a result of a geometry study"):
        record.lines()
    with pytest.raises(StudyError, match=r"holds no geometry study: it has no geometry\.yaml"):
        GeometryRecord(here)


def test_a_failed_prompt_is_recorded_and_trained_again(tiny_study: GeometryRequest, here: Path) -> None:
    """A failed prompt is trained again when the study resumes. If all prompts fail, the study raises an error."""
    wild = tiny_study.model_copy(update={"learning_rate": 1e30, "epochs": 5})
    with pytest.raises(RunError, match=r"no prompt is trained in .*: RunError: the loss of the soft prompt is"):
        geometry(wild, here / "wild")
    assert [line["status"] for line in GeometryRecord(here / "wild").lines()] == ["failed"] * 6
    record = train_prompts(tiny_study, here / "out")
    first, *rest = record.lines_path.read_text(encoding="utf-8").splitlines(keepends=True)
    line = {key: json.loads(first)[key] for key in ("task", "word")} | {"status": "failed", "error": "E: misfortune"}
    record.lines_path.write_text(json.dumps(line) + "\n" + "".join(rest), encoding="utf-8")
    assert len(record.prompts()) == 5
    assert len(train_prompts(tiny_study, here / "out").prompts()) == 6


@pytest.mark.slow
def test_the_geometry_command_writes_its_files(tiny_study: GeometryRequest, here: Path, ask: Ask) -> None:
    """All files are written, a second call trains nothing and prints the same, and soft prompts from other files are added."""
    np.save(here / "mine.npy", np.zeros((2, 3, 16), np.float32) + [[0.1] * 16] * 3)
    save_file({"embeds": torch.ones(5, 16)}, here / "two,food.safetensors")
    words = [part for word in tiny_study.words for part in ("--word", word)]
    asked = ["geometry", *(part for task in tiny_study.tasks for part in ("--task", task)), *words, "--lm", "tiny"]
    asked += ["--tokens", "3", "--epochs", "2", "--batch-size", "3", "--device", "cpu", "--out", "out"]
    status, out, err = ask([*asked, "--add", "mine.npy", "--add", "two,food.safetensors", "--json"])
    found = json.loads(out)
    assert status == 0 and "6 soft prompts in out" in err
    assert len(found["prompts"]) == 6 and found["vectors"] == 18 and len(found["nearest"]) == 18
    assert [(row["source"], row["task"]) for row in found["added"]] == [
        ("mine.npy: mine 1", None), ("mine.npy: mine 2", None), ("two,food.safetensors", "two"),
    ]  # fmt: skip
    names = {file.name for file in (here / "out").iterdir()}
    sheets = {f"{name}.csv" for name in "prompts distances neighbourhoods nearest correlations findings tsne".split()}
    plots = {f"{name}.{ending}" for name in ("tsne-task", "tsne-word", "distances") for ending in ("png", "svg")}
    assert names == sheets | plots | {"geometry.yaml", "geometry.json", "prompts.jsonl", "soft", "report.html"}
    before = {name: (here / "out" / name).read_bytes() for name in names - {"soft"}}
    status, again, _ = ask([*asked, "--add", "mine.npy", "--add", "two,food.safetensors", "--json"])
    assert status == 0 and json.loads(again) == found
    assert before == {name: (here / "out" / name).read_bytes() for name in names - {"soft"}}, "byte by byte"
    kept = here / "t.py"
    kept.rename(here / "elsewhere.py")
    status, alone, _ = ask(["report", "out", "--json"])
    kept_apart = ("added", "findings")
    assert status == 0 and {k: v for k, v in json.loads(alone).items() if k not in kept_apart} == {
        k: v for k, v in found.items() if k not in kept_apart
    }, "from the vectors alone, without the tasks"
    (here / "elsewhere.py").rename(kept)
    status, out, _ = ask(asked)
    assert status == 0 and "6 of them already recorded" in out and "the initial word matters more than the task" in out
    assert json.loads((here / "out" / "geometry.json").read_text(encoding="utf-8"))["added"] == []
    with (here / "out" / "distances.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["measure"], row["label"]): row for row in csv.DictReader(file)}
    assert float(rows["cosine", "same word"]["mean"]) == found["distances"]["cosine"]["groups"]["same word"]["mean"]


def test_training_raises_the_accuracy_of_a_prompt(microworld: FrozenLM, tmp_path: Path) -> None:
    """On the embedded model the accuracy of a prompt is about 0 before training and above 0.9 after five epochs."""
    request = GeometryRequest.make(tasks=("plural",), words=("cat",), epochs=5, device="cpu")
    [line] = train_prompts(request, tmp_path / "out", None, None, microworld).lines()
    assert line["initial_test_accuracy"] < 0.1 and line["test_accuracy"] > 0.9 and line["test_loss"] < line["initial_test_loss"]


# The page and the sheets


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_tokens_are_escaped(name: str, microworld: FrozenLM, tmp_path: Path) -> None:
    """Tokens, tasks, words and sources add no element to the page, and no formula and no line to a csv file."""
    text = HOSTILE[name]
    prompts = [
        Trained(each.embeds, f"{each.task} {text}", f"{each.word}{text}", text) for each in planted(microworld, 1.0, 0.5)
    ]
    found = analyze_vectors(prompts[:6], microworld, added=[prompts[0]])
    found["nearest"][0]["tokens"][0]["token"] = text
    line = dict.fromkeys(("test_accuracy", "test_loss", "initial_test_accuracy", "initial_test_loss", "dev_accuracy"), 0.5)
    line |= {"dev_loss": 1.0, "moved": 1.0, "steps": 1, "seconds": 1.0}
    lines = [line | {"task": each.task, "word": each.word, "status": "ok"} for each in prompts[:6]]
    lines.append({"task": text, "word": text, "status": "failed", "error": text})
    record = GeometryRecord.__new__(GeometryRecord)
    record.request, record.study = GeometryRequest.make(tasks=(text,), words=(text,), lm=text), {}
    drawn = spots(PromptVectors(prompts[:6], microworld), {text: 7})
    page = geometry_page(record, lines, found, drawn)
    calm = geometry_page(record, lines, found | {"nearest": found["nearest"][:1]}, drawn)
    assert Reader(page).count("script") == Reader(page).count("img") == 0
    assert not set(page) & set("\x00\x1b\x07\x85\u2028\u202e\u2066\u200f\ud800")
    assert {tag for tag, _ in Reader(page).elements} == {tag for tag, _ in Reader(calm).elements}
    for sheet, header, rows in sheets(lines, found, drawn):
        write_csv(tmp_path / f"{sheet}.csv", header, rows)
        with (tmp_path / f"{sheet}.csv").open(encoding="utf-8", newline="") as file:
            assert [len(row) for row in csv.reader(file)] == [len(header)] * (len(rows) + 1)


def test_formulas_are_escaped_in_csv_files(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ("token", "value"), [("=1+1", -2.5), (" @SUM(A1)", None), ("-x", 1), ("plain, text", 0)])
    text = (tmp_path / "x.csv").read_text(encoding="utf-8")
    assert text.splitlines() == ["token,value", "'=1+1,-2.5", "' @SUM(A1),", "'-x,1", '"plain, text",0']


def test_one_vector_has_a_page(tiny_study: GeometryRequest, here: Path, ask: Ask) -> None:
    asked = ["geometry", "--task", tiny_study.tasks[0], "--word", tiny_study.words[0], "--lm", "tiny", "--tokens", "1"]
    assert ask([*asked, "--epochs", "1", "--device", "cpu", "--limit", "2", "--out", "out"])[0] == 0
    page = (here / "out" / "report.html").read_text(encoding="utf-8")
    assert "<pre>hardprompt geometry \\\n    --task" in page and "    --limit 2 \\\n" in page


def test_the_page_shows_the_command_to_rerun_it() -> None:
    request = GeometryRequest.make(tasks=("plural", "my task"), words=("cat",), epochs=50, learning_rate=0.001)
    said = " ".join(line.removesuffix("\\").strip() for line in geometry_command(request))
    expected = "--task plural --task 'my task' --word cat --lm microworld --epochs 50 --learning-rate 0.001 --out again"
    assert said == f"hardprompt geometry {expected}"
