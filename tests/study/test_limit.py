"""`--limit` measures on a number of test examples that are the same for every run, and every table says how many they are."""

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import hardprompt as hp
from hardprompt.data.splits import draw_by_label
from hardprompt.data.task import Example
from hardprompt.records.request import StudyRequest
from hardprompt.study.loading import load_tasks
from tests.helpers import Ask
from tests.helpers.tiny import save_tiny

FILMS = [Example(f"film {i}", ("bad", "good", "fine")[0 if i < 60 else 1 if i < 90 else 2]) for i in range(101)]


def test_each_label_has_its_share_by_the_largest_remainder() -> None:
    """Of 101 examples, 60, 30 and 11 per label: 10 drawn are 5.94, 2.97 and 1.09, so 6, 3 and 1."""
    drawn = draw_by_label(FILMS, 10, ("bad", "good", "fine"))
    assert Counter(film.answer for film in drawn) == {"bad": 6, "good": 3, "fine": 1}
    assert [FILMS.index(film) for film in drawn] == sorted(FILMS.index(film) for film in drawn), "the order is kept"
    assert drawn == draw_by_label(FILMS, 10, ("bad", "good", "fine"))
    assert not set(drawn) <= {*FILMS[:6], *FILMS[60:63], FILMS[90]}, "not the first ones of each label"
    for count in range(1, 101):
        drawn = draw_by_label(FILMS, count, ("bad", "good", "fine"))
        assert len(drawn) == len(set(drawn)) == count
        found = Counter(film.answer for film in drawn)
        assert all(abs(found[label] - count * of / 101) < 1 for label, of in (("bad", 60), ("good", 30), ("fine", 11)))


def test_a_generation_task_is_drawn_from_alike_and_small_sets_are_kept() -> None:
    assert len(draw_by_label(FILMS, 10)) == 10 != len(draw_by_label(FILMS, 101)) == len(draw_by_label(FILMS, 1000))
    assert draw_by_label(FILMS, 101, ("bad", "good", "fine")) == FILMS


def test_all_splits_and_seeds_have_the_same_test_examples(shared: Path) -> None:
    data = str(shared / "data" / "fewshot" / "agnews")
    asked = StudyRequest.make(task="agnews", data=data, splits=("13", "21"), limit=41)
    a, b = load_tasks(asked).values()
    whole = load_tasks(asked.model_copy(update={"limit": None}))["13"]
    assert a.test == b.test and len(a.test) == 41 and set(a.test) <= set(whole.test)
    assert sorted(Counter(example.answer for example in a.test).values()) == [10, 10, 10, 11]
    assert (a.train, a.dev) == (whole.train, whole.dev)


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_every_table_says_how_many_examples(here: Path, ask: Ask) -> None:
    """The record has the number, the terminal and the page show it, and `evaluate` measures on the same examples."""
    save_tiny(here / "tiny")
    lines = [{"input": f"film {i}", "answer": "ng"[i % 2], "split": ["train", "dev", "test", "test"][i % 4]} for i in range(40)]
    (here / "mood.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    task = "--task mood.jsonl --template '{input} {prompt}' --label-words n=bad,g=good"
    small = "--lm tiny --device cpu --optimizers empty,random --lm-tokens 2000 --weights 0 --prompt-length 2 --vocabulary all"
    status, out, err = ask(shlex.split(f"compare {task} {small} --seeds 0,1 --limit 7 --out study"))
    assert (status, err) == (0, "") and "mood on tiny, n = 7 test examples" in out
    points = [json.loads(line) for line in (here / "study" / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {len(point["test_correct"]) for point in points} == {7}
    assert "limit: 7" in (here / "study" / "study.yaml").read_text(encoding="utf-8")
    page = (here / "study" / "report.html").read_text(encoding="utf-8")
    assert "n = 7 test examples" in page and "at most 7, drawn by label" in page and "--limit 7" in page
    captions = [part.split("</p>")[0] for part in page.split('<p class="caption"')[1:]]
    assert sum("n = 7" in caption for caption in captions) >= 3
    assert ask(shlex.split("report study"))[1].count("n = 7") >= 1

    status, out, _ = ask(shlex.split("evaluate --run study --number 4"))
    assert status == 0 and "n = 7 test examples" in out
    status, out, _ = ask(shlex.split("evaluate --run study --number 4 --json"))
    assert json.loads(out)["test_correct"] == points[3]["test_correct"]
    assert "n = 5 test examples" in ask(shlex.split("evaluate --run study --number 4 --limit 5"))[1]
    assert "n = 20 test examples" in ask(shlex.split("evaluate --run study --number 4 --limit 5000"))[1]
    status, out, err = ask(shlex.split("evaluate --run study --number 4 --limit 0"))
    assert status == 2 and "--limit: expected a number greater than 0" in err


def test_a_limit_in_a_recipe_and_in_python(here: Path) -> None:
    (here / "x.yaml").write_text("limit: 9\ntasks: [plural, {task: capital, limit: 4}]\n", encoding="utf-8")
    from hardprompt.study.planner import planned_studies
    from hardprompt.study.recipe import read_recipe

    assert [study.request.limit for study in planned_studies(read_recipe(here / "x.yaml"))] == [9, 4]
    [task] = load_tasks(StudyRequest.make(task="plural", limit=4)).values()
    assert len(task.test) == 4 and task.digest != hp.load_task("plural").digest


def test_the_template_and_the_prompts_of_a_task_on_real_data_can_be_replaced(tmp_path: Path) -> None:
    for file in ("1-3/train.tsv", "1-3/dev.tsv", "test.tsv"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(f"sentence\tlabel\nfine {file}\t1\ndull {file}\t0\n", encoding="utf-8")
    fields: dict[str, Any] = {"task": "sst2", "data": str(tmp_path), "splits": ("3",)}
    [usual] = load_tasks(StudyRequest.make(**fields)).values()
    template, prompts = "Review: {input}\n{prompt}", ("Sentiment:", "Overall,")
    [changed] = load_tasks(StudyRequest.make(**fields, template=template, reference_prompts=prompts)).values()
    assert changed.template_for(masked=False).text == template and changed.reference_prompts == prompts
    assert changed.template_for(masked=True).text == template + " {mask}.", "the masked template follows"
    assert (changed.label_words, changed.test) == (usual.label_words, usual.test)
    assert changed.digest != usual.digest
