"""Exported tasks and scripts give the accuracy of hardprompt to the last example, in the programs that they are for."""

import copy
import json
import runpy
import shutil
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers.processors import TemplateProcessing

from hardprompt import FrozenLM, Scorer, StudyRequest, Task, Template, compare, load_task
from hardprompt.errors import RequestError
from hardprompt.export import export
from hardprompt.export_tasks import lm_eval_name, plain_task, write_lm_eval, write_script
from hardprompt.lm.sources import EMBEDDED
from hardprompt.records.prompt_ref import PromptRef
from tests.helpers import Ask
from tests.helpers.chat import chat_lm, chat_task
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task, write_jsonl

LAYOUTS = {"gpt2": "{prompt} : {input} is", "adds-start": "{input} {prompt} :", "no-bos": "Q: {input}\n{prompt}\nA:"}


def model_of(family: str) -> FrozenLM:
    """A tiny model; the tokenizer of "adds-start" puts the start token before every text itself."""
    if family == "chatml":
        return chat_lm(family)
    if family != "adds-start":
        return tiny_lm(family)
    tokenizer = copy.deepcopy(tiny_lm("gpt2").tokenizer)
    start = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    return FrozenLM(tiny_lm("gpt2").model, tokenizer, "adds-start")


def saved(lm: FrozenLM, folder: Path) -> Path:
    """The model as an ordinary folder of transformers."""
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


def run_script(folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    """What an exported script prints."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(model)])
    capfd.readouterr()
    runpy.run_path(str(folder / "evaluate.py"), run_name="__main__")
    return capfd.readouterr().out


def harness(folder: Path, task: Task, model: Path, **of_model: Any) -> tuple[float, list[bool]]:
    """The accuracy in the evaluation harness, and whether each answer is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'hardprompt[eval]'")
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        name = lm_eval_name(task.name)
        lm = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=1, **of_model)
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        found = lm_eval.simple_evaluate(lm, tasks=[name], task_manager=manager, log_samples=True, bootstrap_iters=0)
    metric = "acc" if task.label_words else "exact_match"
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    [accuracy] = [value for key, value in found["results"][name].items() if key.startswith(f"{metric},")]
    return accuracy, [sample[metric] == 1 for sample in samples]


@pytest.mark.parametrize("kind", ["classification", "generation"])
@pytest.mark.parametrize("family", LAYOUTS)
def test_the_script_gives_the_same_accuracy(
    family: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With models whose tokenizers add a start token, add none, or have none; hardprompt is not imported."""
    lm, task = model_of(family), tiny_task(kind, template=Template(LAYOUTS[family]))
    right = int(Scorer(lm, task, task.test).score_text("good or bad").correct.sum())
    write_script(tmp_path, plain_task(lm, task, "good or bad"), "float32")
    assert "hardprompt" not in (tmp_path / "evaluate.py").read_text(encoding="utf-8")
    printed = run_script(tmp_path, saved(lm, tmp_path / "model"), monkeypatch, capfd)
    assert printed == f"test accuracy {right / len(task.test)} ({right} of {len(task.test)} examples)\n"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("plural", "plural form"), ("review-sentiment", "was it good or bad")])
def test_the_script_measures_the_embedded_model(
    name: str,
    text: str,
    microworld: FrozenLM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Prompts that answer some of the examples."""
    task = load_task(name)
    correct = Scorer(microworld, task, task.test).score_text(text).correct[0].tolist()
    assert 0 < sum(correct) < len(correct)
    write_script(tmp_path, plain_task(microworld, task, text), "float32")
    assert f"({sum(correct)} of {len(correct)} examples)" in run_script(tmp_path, EMBEDDED["microworld"], monkeypatch, capfd)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("plural", "plural form"), ("review-sentiment", "was it good or bad")])
def test_the_harness_gives_the_same_answers_with_the_embedded_model(
    name: str, text: str, microworld: FrozenLM, tmp_path: Path
) -> None:
    """Of a generation and a classification task, to the last example. Without `add_bos_token`, the tokens are others."""
    task = load_task(name)
    correct = Scorer(microworld, task, task.test).score_text(text).correct[0].tolist()
    write_lm_eval(tmp_path, plain_task(microworld, task, text), task.name)
    accuracy, answers = harness(tmp_path, task, EMBEDDED["microworld"], add_bos_token=False)
    assert answers == correct and accuracy == sum(correct) / len(correct)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "adds-start", "no-bos", "chatml"])
def test_the_harness_gives_the_same_answers_with_other_tokenizers(family: str, tmp_path: Path) -> None:
    """Also in a chat, whose text is rendered in the export."""
    lm = model_of(family)
    task = chat_task() if family == "chatml" else tiny_task(template=Template("Q: {input}\n{prompt}\nA:"))
    correct = Scorer(lm, task, task.test).score_text("good or bad").correct[0].tolist()
    plain = plain_task(lm, task, "good or bad")
    write_lm_eval(tmp_path, plain, task.name)
    of_model = {} if plain.special_tokens else {"add_bos_token": False}
    assert harness(tmp_path, task, saved(lm, tmp_path / "model"), **of_model)[1] == correct


def test_the_texts_have_their_start_and_separator() -> None:
    """A start token that the tokenizer does not add is in the text; the separator of a chat is that of its template."""
    task = tiny_task(template=Template("{input} {prompt} :"))
    found = {family: plain_task(model_of(family), task, "good or bad") for family in ("gpt2", "adds-start", "no-bos")}
    assert {family: plain.special_tokens for family, plain in found.items()} == {
        "gpt2": False,
        "adds-start": True,
        "no-bos": True,
    }
    first = f"{task.test[0].input} good or bad :"
    assert [plain.examples[0]["text"] for plain in found.values()] == [f"<|endoftext|>{first}", first, first]
    assert found["gpt2"].label_words == list(task.label_words.values()) and found["gpt2"].separator == " "
    chat = plain_task(chat_lm("mistral"), chat_task(), "good or bad")
    assert chat.separator == " " and chat.examples[0]["text"].endswith("good or bad [/INST]")


@pytest.mark.parametrize(
    ("family", "task", "says"),
    [
        ("roberta", tiny_task(template=Template("{input} {prompt} {mask} .")), "is not a causal model .masked.; use --to text"),
        ("llama", tiny_task(), "reads the start of a text differently than hardprompt; use --to text or json"),
        ("gpt2", tiny_task("generation", match="starts-with"), "compares answers with match 'starts-with', expected exact"),
    ],
)
def test_tasks_that_other_programs_measure_differently_are_refused(family: str, task: Task, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        plain_task(tiny_lm(family), task, "good")


def test_a_tokenizer_that_joins_text_and_answer_is_refused() -> None:
    """The label word is one token on its own, and another one behind the text of the template."""
    lm = tiny_lm("gpt2")
    task = tiny_task(template=Template("{input} {prompt} goo"), separator="", label_words={"positive": "d", "negative": "b"})
    with pytest.raises(RequestError, match="joins the label word 'd' and the text before it; use --to text or json"):
        plain_task(lm, task, "bad")


def test_the_export_command_writes_both_forms(
    here: Path, ask: Ask, no_plot: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The figure of the record, from the study's folder to the script; hostile names and texts stay inside their files."""
    save_tiny(here / "tiny")
    write_jsonl(tiny_task(), here / "my mood's.jsonl")
    text = "good {{ 7 }} {% raw %} !function 'x'"
    request = StudyRequest.make(
        task="my mood's.jsonl", template="{input} {prompt} :", label_words={"positive": "good", "negative": "bad"}, lm="tiny",
        device="cpu", reference_prompts=(text,), optimizers=("manual",), seeds=(0,), readers=(),
    )  # fmt: skip
    compare(request, "study")
    point = PromptRef(run=here / "study").point
    assert point is not None
    assert ask(["export", "study", "--to", "transformers"])[0] == 0
    printed = run_script(here / "study-transformers", here / "tiny", monkeypatch, capfd)
    assert float(printed.split()[2]) == pytest.approx(point["deployed_test_accuracy"], abs=1e-7)
    status, out, _ = ask(["export", "study", "--to", "lm-eval", "--json"])
    name = "hardprompt_my_mood_s"
    assert status == 0 and json.loads(out)["files"] == ["README.md", "data.py", f"{name}.yaml", "test.jsonl"]
    written = (here / "study-lm-eval" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "custom_dataset: !function 'data.load'" in written
    config = yaml.safe_load(written.replace("!function ", ""))
    assert config["doc_to_text"] == "text" and config["doc_to_choice"] == ["good", "bad"] and config["target_delimiter"] == " "
    lines = (here / "study-lm-eval" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["text"] == f"<|endoftext|>{tiny_task().test[0].input} {text} :"
    card = (here / "study-lm-eval" / "README.md").read_text(encoding="utf-8")
    asked = f"--model_args pretrained=MODEL,dtype=float32,add_bos_token=False --tasks {name} --include_path . --batch_size 1"
    assert asked in card and "MODEL is the folder of the model" in card
    shutil.rmtree(here / "study-lm-eval")
    with pytest.raises(RequestError, match="compares answers with match"):
        write_jsonl(tiny_task("generation"), here / "g.jsonl")
        compare(request.model_copy(update={"task": "g.jsonl", "label_words": {}, "match": "starts-with"}), "other")
        export(PromptRef(run=here / "other"), "lm-eval")
    assert not (here / "other-lm-eval").exists()


def test_the_file_of_the_script_holds_all_settings(tmp_path: Path) -> None:
    plain = plain_task(tiny_lm("gpt2"), tiny_task("generation"), "good")
    write_script(tmp_path, plain, "bfloat16")
    assert json.loads((tmp_path / "task.json").read_text(encoding="utf-8")) == {"dtype": "bfloat16"} | asdict(plain)
