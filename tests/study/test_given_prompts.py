"""Prompts from a file stand in a study as runs of their own."""

import json
from pathlib import Path
from typing import Any

import pytest

from hardprompt import HardPrompt, Scorer, StudyRequest, compare
from hardprompt.data.given_prompts import read_prompts
from hardprompt.errors import RequestError, StudyError
from hardprompt.lm import load_lm
from hardprompt.records.schema import RunRecord, run_records
from hardprompt.records.store import Store
from hardprompt.report.studies import compare_optimizers, group_studies
from hardprompt.study.loaded_study import LoadedStudy
from hardprompt.study.loading import load_tasks
from hardprompt.study.planner import planned_studies
from hardprompt.study.recipe import read_recipe
from tests.helpers import Ask
from tests.helpers.pages import HOSTILE, Reader
from tests.helpers.tiny import save_tiny, tiny_task, write_jsonl


@pytest.fixture
def base(here: Path, no_plot: None) -> dict[str, Any]:
    """The fields of a request on a tiny model."""
    save_tiny(here / "tiny")
    write_jsonl(tiny_task(), here / "mood.jsonl")
    return {
        "task": "mood.jsonl", "template": "{input} {prompt} :", "label_words": {"positive": "good", "negative": "bad"},
        "lm": "tiny", "device": "cpu", "reference_prompts": ("good or bad",), "optimizers": ("empty", "manual"),
        "seeds": (0, 1),
    }  # fmt: skip


def test_every_prompt_is_a_point_with_its_exact_text(base: dict[str, Any], here: Path) -> None:
    """Also one that is no better than others; ids, loss and accuracy are those of the text in its place."""
    texts = ["good or bad", "Was it Good?\nAnswer", "zq"]
    rows = [{"prompt": f"  {text} ", "name": name} for text, name in zip(texts, ("plain", "two lines", ""), strict=True)]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = StudyRequest.make(**base, prompts="p.jsonl")
    compare(request, "study")
    store = Store("study")
    points = [p for p in run_records(store.points()) if isinstance(p, RunRecord)]
    names = ["empty", "manual", "given:plain", "given:two lines", "given:3"]
    assert [p.optimizer for p in points] == names * 2, "in the order of the file, for every seed"
    assert [p.prompt_text for p in points[2:5]] == texts
    [task], lm = load_tasks(request).values(), load_lm("tiny", device="cpu")
    test = Scorer(lm, task, task.test)
    for point, text in zip(points[2:5], texts, strict=True):
        prompt = HardPrompt.in_place(lm, task.template, text)
        assert (tuple(point.prompt_ids), point.weight) == (prompt.ids, 0.0)
        assert point.test_loss == float(test.score_ids([prompt.ids]).mean_loss) and point.roundtrip_ok
        assert point.deployed_test_accuracy == float(test.score_text(text).accuracy)
    assert store.study["prompts"] == dict(zip(names[2:], texts, strict=True))
    [shown] = group_studies([store])
    assert list(shown.found["optimizers"]) == ["manual", "given"], "given prompts have one front together"
    assert {row["optimizer"] for row in shown.found["differences"]} == {*names[2:]}
    pairs = {(each.first, each.second) for each in compare_optimizers([shown], False)}
    assert len(pairs) == 3 and all("manual" in pair for pair in pairs), "given prompts are compared with the others only"
    lines = (here / "study" / "points.jsonl").read_bytes().splitlines(keepends=True)
    (here / "study" / "points.jsonl").write_bytes(b"".join(lines[::-1]))
    assert [p["optimizer"] for p in Store("study").points()] == names * 2, "whatever order the runs ended in"


def test_a_study_resumes_only_with_the_same_prompts(base: dict[str, Any], here: Path) -> None:
    file = Path("p.txt")
    file.write_text("good\nbad\n", encoding="utf-8")
    request = StudyRequest.make(**base, prompts="p.txt")
    compare(request, "study")
    record = here / "study" / "points.jsonl"
    whole = record.read_bytes()
    record.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    file.write_text("# a comment changes no prompt, and neither does a blank\ngood\nbad\n".partition("\n")[2], encoding="utf-8")
    compare(request, "study")
    one, two = (run_records(map(json.loads, text.splitlines())) for text in (whole, record.read_bytes()))
    assert [p.model_copy(update={"seconds": 0}) for p in one] == [p.model_copy(update={"seconds": 0}) for p in two]
    file.write_text("good\nworse\n", encoding="utf-8")
    with pytest.raises(StudyError, match="the given prompts have changed since study was created; choose another --out"):
        compare(request, "study")
    with pytest.raises(StudyError, match=r"holds another study \(other prompts\)"):
        compare(request.model_copy(update={"prompts": None}), "study")
    others = {"optimizers": ("manual",), "seeds": (2,)}
    compare(request.model_copy(update=others), "changed")
    shown = group_studies([Store("study"), Store("changed")])
    assert len(shown) == 2, "runs of two texts under one name are not shown as one study"
    compare(request.model_copy(update=others | {"prompts": None}), "without")
    assert len(group_studies([Store("study"), Store("without")])) == 1


def test_hostile_prompts_and_names_are_escaped(base: dict[str, Any], here: Path) -> None:
    texts = [text[:40] for name, text in HOSTILE.items() if name not in ("lone surrogate", "long")]
    rows = [{"prompt": text, "name": text.strip()} if text.isprintable() else {"prompt": text} for text in texts]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    compare(StudyRequest.make(**base | {"seeds": (0,)}, prompts="p.jsonl"), "study")
    text = (here / "study" / "report.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert page.count("script") == 0 and not {"img"} & {name for name, _ in page.elements}
    assert not set(text) & set("\x00\x1b\x07\x85\u2028\u202e\u2066\u200f")
    assert any("</script><script>alert(1)</script>" in each for each in page.within("table"))


BAD: dict[str, tuple[bytes | None, str]] = {
    "comments.txt": (b"# only\n\n", "comments.txt: holds no prompt; expected one per line, or a column prompt in .tsv"),
    "twice.txt": (b"good\n\n bad\ngood \n", "twice.txt:4: the prompt of line 1 again; give each prompt once"),
    "names.csv": (b"name,prompt\na,x\na,y\n", "names.csv:3: the name 'a' is that of line 2; give each prompt its own name"),
    "number.csv": (b"name,prompt\n3,x\n,y\n", "number.csv:3: the name '3' is that of line 2"),
    "latin.txt": (b"good\ncaf\xe9\n", "latin.txt:2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "none.txt": (None, "none.txt: cannot be read"),
    "p.docx": (b"x", "p.docx has no known file extension; expected .*, or .txt with one prompt per line"),
    "p.xlsx": (b"x", "p.xlsx is a spreadsheet; save the sheet as .csv"),
    "column.csv": (b"name,text\na,b\n", "column.csv:1: no column prompt; the columns are name, text"),
    "empty.csv": (b'name,prompt\na," "\n', "empty.csv:2: the prompt is empty or no text; the optimizer `empty` measures"),
    "kind.jsonl": (b'{"prompt": ["x"]}', "kind.jsonl:1: the prompt is empty or no text"),
    "name.jsonl": (b'{"prompt": "x", "name": "a\\u0007"}', "name.jsonl:1: the name .* cannot be printed"),
    "half.jsonl": (b'{"prompt": "\\ud800"}', "half.jsonl:1: half of a surrogate pair"),
    "special.txt": (b"x<|endoftext|>\n", "special.txt:1: the prompt contains '<|endoftext|>', which tiny reads as a special"),
    "long.txt": (
        b"good\n" + b"good " * 90,
        "long.txt:2: the prompt has 90 tokens, which is too long .* the context of tiny is",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_used_are_refused(name: str, base: dict[str, Any]) -> None:
    """Before anything runs, in one line that names the place."""
    content, says = BAD[name]
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(RequestError) as raised:
        LoadedStudy(StudyRequest.make(**base, prompts=name))
    message = str(raised.value)
    assert raised.value.about == ("prompts",) and "\n" not in message
    for part in says.split(".*"):
        assert part.strip() in message


def test_a_text_outside_the_vocabulary_is_refused(base: dict[str, Any], here: Path) -> None:
    save_tiny(here / "bert", "bert")
    Path("p.txt").write_text("Good\n猫\n", encoding="utf-8")
    fields = base | {"lm": "bert", "template": "{input} {prompt} {mask} ."}
    with pytest.raises(RequestError, match=r"p\.txt:2: bert has no tokens for a part of the prompt '猫'; write it differently"):
        LoadedStudy(StudyRequest.make(**fields, prompts="p.txt"))


def test_encodings_and_line_ends(here: Path) -> None:
    """UTF-8 with a byte-order mark, UTF-16, and lines that end in CR LF."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        Path("p").write_bytes("# café\r\nnaïve ü\r\n\r\n good \r\n".encode(encoding))
        assert [(each.name, each.text) for each in read_prompts("p")] == [("2", "naïve ü"), ("4", "good")]


def test_recipes_and_the_command_line_take_the_file(base: dict[str, Any], here: Path, ask: Ask) -> None:
    """A recipe gives it for all tasks or for one of them; an error names the line of the recipe."""
    Path("p.txt").write_text("good\n", encoding="utf-8")
    Path("r.yaml").write_text("tasks:\n- category\n- {task: plural, prompts: q.txt}\nprompts: p.txt\n", encoding="utf-8")
    assert [study.request.prompts for study in planned_studies(read_recipe("r.yaml"))] == ["p.txt", "q.txt"]
    assert ask(["run", "r.yaml", "--jobs", "1"])[::2] == (2, "hardprompt: r.yaml:3: q.txt: cannot be read (No such file or "
                                                          "directory); expected a UTF-8 file\n")  # fmt: skip
    options = ["--task", "mood.jsonl", "--template", base["template"], "--label-words", "positive=good,negative=bad"]
    asked = ["compare", *options, "--lm", "tiny", "--device", "cpu", "--optimizers", "empty", "--seeds", "0"]
    status, out, _ = ask([*asked, "--prompts", "p.txt", "--json"])
    assert status == 0 and [point["optimizer"] for point in json.loads(out)] == ["empty", "given:1"]
    status, _, err = ask([*asked, "--prompts", ""])
    assert status == 2 and "--prompts: give a name, or leave it out" in err
