"""The tokens before every text: the default, and what `start` puts in their place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hardprompt import Scorer, Template, load_lm, load_task
from hardprompt.errors import LMError
from hardprompt.lm import FrozenLM, log_perplexity, projected_nll
from hardprompt.records.prompt_ref import PromptRef
from hardprompt.records.request import StudyRequest
from hardprompt.report.rerun_command import rerun_command
from hardprompt.study.engine import JobExecutor
from tests.helpers import Ask
from tests.helpers.gguf_files import tiny_llama, write_gguf


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", tiny_llama()))


@pytest.fixture(scope="module")
def tiny_lm(tiny: str) -> FrozenLM:
    return load_lm(tiny, device="cpu")


@pytest.mark.parametrize(
    ("start", "tokens"),
    [
        ("none", []),
        ("bos", ["<|im_start|>"]),
        ("<|endoftext|>", ["<|endoftext|>"]),
        ("<|im_start|>the\n", ["<|im_start|>", "the", "Ċ"]),
        ("<3", ["<", "3"]),
    ],
)
def test_start_is_read_before_every_text(tiny: str, start: str, tokens: list[str]) -> None:
    lm = load_lm(tiny, device="cpu", start=start)
    assert lm.tokenizer.convert_ids_to_tokens(lm.prefix_ids) == tokens
    assert lm.max_text_length == lm.max_length - len(tokens)


def test_start_changes_the_surprisal_as_if_the_text_began_with_it(tiny: str, tiny_lm: FrozenLM) -> None:
    ids, before = tiny_lm.encode("of the"), tiny_lm.tokenizer.convert_tokens_to_ids(["<|im_start|>", "t"])
    lm = load_lm(tiny, device="cpu", start="<|im_start|>t")
    found = log_perplexity(lm, ids)
    assert found == pytest.approx(projected_nll(lm, lm.embed(torch.tensor(ids)), torch.tensor(ids)).item(), abs=1e-5)
    none = load_lm(tiny, device="cpu", start="none")
    whole = log_perplexity(none, [*before, *ids]) * (len(ids) + 1) - log_perplexity(none, before)
    assert found == pytest.approx(whole / len(ids), abs=1e-5)


@pytest.mark.parametrize("start", ["none", "bos", "<|im_start|>the"])
def test_the_nll_that_scoring_reads_along_is_the_same(tiny: str, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a template that begins with the prompt, the pass over the prompt gives its NLL as well."""
    lm = load_lm(tiny, device="cpu", start=start)
    task = load_task("category")
    ids = (5, 9, 70)
    noted: dict[tuple[int, ...], torch.Tensor] = {}
    monkeypatch.setattr("hardprompt.scoring.passes.PASS_TOKENS", 0)
    scorer = Scorer(lm, replace(task, template=Template("{prompt} {input}")), task.dev[:3], prompt_nll=noted)
    alone = Scorer(load_lm(tiny, device="cpu", start="none"), scorer.task, task.dev[:3])
    found = scorer.score_ids([ids]).loss
    assert noted[ids].item() == pytest.approx(log_perplexity(lm, ids), abs=1e-5)
    assert torch.allclose(found, alone.score_ids([(*lm.prefix_ids, *ids)]).loss, atol=1e-4)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("<|endoftxt|>", "tiny.gguf has no token '<|endoftxt|>'; did you mean '<|endoftext|>'?"),
        ("[CLS]", "tiny.gguf has no token '[CLS]'"),
        ("t" * 128, "the start has 128 tokens, which leaves no room in the context of tiny.gguf"),
        ("", "tiny.gguf has no tokens for the start ''; give none, bos or the text of its tokens"),
    ],
)
def test_a_start_that_cannot_be_read(tiny_lm: FrozenLM, start: str, expected: str) -> None:
    with pytest.raises(LMError) as refused:
        tiny_lm.start_ids_of(start)
    assert str(refused.value) == expected


def test_a_model_without_bos(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_lm, "bos_id", None)
    with pytest.raises(LMError, match=r"^tiny\.gguf has no beginning-of-sequence token \(bos\)"):
        tiny_lm.start_ids_of("bos")


def test_commands_take_the_start(tiny: str, here: Path, ask: Ask) -> None:
    asked = ["--lm", tiny, "--device", "cpu", "--text", "of the"]
    status, output, errors = ask(["inspect", *asked, "--start", "bos", "--json"])
    assert (status, errors, json.loads(output)["start"]) == (0, "", ["<|im_start|>"])
    assert "the model reads <|endoftext|> before the prompt" in ask(["inspect", *asked])[1]
    status, output, errors = ask(["inspect", *asked, "--start", "<|x|>"])
    assert (status, output, errors) == (2, "", "hardprompt: tiny.gguf has no token '<|x|>'\n")


def test_a_request_keeps_its_start() -> None:
    request = StudyRequest.make(start="<|endoftext|>")
    assert "    --start '<|endoftext|>' \\" in rerun_command(request)
    assert not any("--start" in line for line in rerun_command(StudyRequest.make()))


def test_studies_with_another_start_do_not_share_a_model(tiny: str) -> None:
    request = StudyRequest.make(lm=tiny, task="plural", device="cpu", optimizers=("empty",))
    engine = JobExecutor()
    first = engine.load(request).lm.prefix_ids
    assert engine.load(request.model_copy(update={"start": "none"})).lm.prefix_ids == [] != first


def test_the_start_of_a_study_belongs_to_its_model(tiny: str, here: Path, ask: Ask, no_plot: None) -> None:
    study = ["--task", "plural", "--optimizers", "empty", "--weights", "0", "--seeds", "0", "--device", "cpu"]
    assert ask(["compare", "--lm", tiny, "--start", "<|im_start|>", *study, "--out", "study"])[0] == 0
    named = PromptRef(run=here / "study", number=1)
    assert named.request({}).start == "<|im_start|>"
    assert named.request({"lm": "microworld"}).start is None
    assert named.request({"start": "none"}).start == "none"
