"""Prompts written to and read from files: equal logits in peft, equal vectors, and correct model cards."""

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor

from hardprompt import HardPrompt, Scorer, SoftPrompt, StudyRequest, Template, compare, load_task
from hardprompt.adapter import read_adapter, read_vectors, write_adapter
from hardprompt.errors import RequestError, StudyError, UnknownName
from hardprompt.experiments.geometry.record import read_added
from hardprompt.export import export, model_card
from hardprompt.lm import FrozenLM
from hardprompt.records.prompt_ref import PromptRef
from tests.helpers import Ask
from tests.helpers.pages import HOSTILE
from tests.helpers.tiny import CAUSAL, save_tiny, tiny_lm, tiny_task, write_jsonl

LAYOUTS = ("{prompt} : {input} is", "a task : {prompt} {input} is")


def peft_logits(lm: FrozenLM, folder: Path, texts: list[str]) -> list[Tensor]:
    """Next-token logits of a peft model, on a copy of the model, for texts padded on the right."""
    from peft import PeftModel

    with warnings.catch_warnings():  # peft reads an attribute that transformers has renamed
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(copy.deepcopy(lm.model), str(folder)).eval()
        ids = lm.encode_after(texts)
        width = max(map(len, ids))
        padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        with torch.no_grad():
            logits = model(input_ids=padded, attention_mask=mask).logits
    virtual = logits.shape[1] - width
    return [logits[i, virtual + len(row) - 1] for i, row in enumerate(ids)]


def test_a_study_that_is_the_current_folder_is_exported_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = shutil.copytree("runs/quick", tmp_path / "study")
    monkeypatch.chdir(study)
    for run in (".", "../study"):
        folder = export(PromptRef(run=Path(run), number=2), "text")
        assert folder.resolve() == (tmp_path / "study-text").resolve()
        shutil.rmtree(folder)


def soft_prompt(lm: FrozenLM, length: int = 3) -> SoftPrompt:
    return SoftPrompt(torch.randn(length, lm.vocab_embeds.shape[1], generator=torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", CAUSAL)
def test_a_peft_model_gives_the_same_logits(family: str, layout: str, tmp_path: Path) -> None:
    """Soft and hard prompts, every model family, with or without a start token and text before the prompt."""
    lm, task = tiny_lm(family), tiny_task(template=Template(layout))
    scorer = Scorer(lm, task, task.test)
    texts = [task.template.around(example.input)[1] for example in task.test]
    hard = HardPrompt.from_ids(lm, [40, 41, 42, 43])
    for name, prompt, mine in (
        ("soft", soft := soft_prompt(lm), soft.embeds),
        ("hard", hard, list(hard.ids)),
    ):
        write_adapter(prompt, lm, task.template, tmp_path / name)
        theirs = torch.stack(peft_logits(lm, tmp_path / name, texts))
        torch.testing.assert_close(theirs, scorer.next_token_logits(mine), rtol=1e-4, atol=1e-4)
    other = scorer.next_token_logits(soft_prompt(lm).embeds + 0.5)
    assert (theirs - other).abs().max() > 1e-2


def test_the_adapter_has_the_files_and_keys_of_peft(tmp_path: Path) -> None:
    """The configuration and the tensor have the keys of peft, with the start token first; other details are in another file."""
    lm = tiny_lm("gpt2")
    write_adapter(soft_prompt(lm), lm, Template("{prompt} {input}"), tmp_path, "someone/model", {"task": "x"})
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["num_virtual_tokens"], config["token_dim"], config["peft_type"]) == (4, 16, "PROMPT_TUNING")
    assert config["base_model_name_or_path"] == "someone/model"
    vectors = load_file(tmp_path / "adapter_model.safetensors")
    assert list(vectors) == ["prompt_embeddings"]
    assert torch.equal(vectors["prompt_embeddings"][0], lm.vocab_embeds[lm.prefix_ids[0]]), (
        "the start token is the first vector"
    )
    said = json.loads((tmp_path / "hardprompt.json").read_text(encoding="utf-8"))
    assert said == {"vectors_before": 1, "template": "{prompt} {input}", "task": "x"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_soft_prompt_is_read_back_from_its_adapter(layout: str, tmp_path: Path) -> None:
    """The vectors for the text before the prompt are removed; from other adapters all vectors are read."""
    lm, prompt = tiny_lm("gpt2"), soft_prompt(tiny_lm("gpt2"))
    write_adapter(prompt, lm, Template(layout), tmp_path)
    found = read_adapter(tmp_path)
    assert torch.equal(found.prompt.embeds, prompt.embeds) and found.base_model == "tiny-gpt2"
    (tmp_path / "hardprompt.json").unlink()
    whole = read_adapter(tmp_path).prompt.embeds
    assert len(whole) > 3 and torch.equal(whole[-3:], prompt.embeds)


@pytest.mark.parametrize("safe", [True, False])
def test_an_adapter_trained_with_peft_is_read(safe: bool, tmp_path: Path) -> None:
    """peft saved the adapter in its current format or in the old pickle format, which runs no code here."""
    from peft import PromptTuningConfig, get_peft_model

    lm = tiny_lm("no-bos")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = get_peft_model(copy.deepcopy(lm.model), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
        tuned.save_pretrained(str(tmp_path))
    encoder: Any = tuned.prompt_encoder
    vectors = encoder["default"].embedding.weight.detach()
    if not safe:
        (tmp_path / "adapter_model.safetensors").unlink()
        torch.save({"prompt_embeddings": vectors}, tmp_path / "adapter_model.bin")
    embeds = read_adapter(tmp_path).prompt.embeds
    assert torch.equal(embeds, vectors)
    task = tiny_task(prompt_first=True)
    theirs = peft_logits(lm, tmp_path, [task.template.around(example.input)[1] for example in task.test]) if safe else None
    if theirs:
        mine = Scorer(lm, task, task.test).next_token_logits(embeds)
        torch.testing.assert_close(torch.stack(theirs), mine, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["p-tuning", "cpt"])
def test_other_soft_prompts_of_peft_are_read(kind: str, tmp_path: Path) -> None:
    """P-tuning with its reparameterization, and CPT with a trained difference: the same logits as in peft."""
    from peft import CPTConfig, PromptEncoderConfig, get_peft_model

    lm, task = tiny_lm("no-bos"), tiny_task(prompt_first=True)
    context = lm.encode("good or bad")
    configs: dict[str, Any] = {
        "p-tuning": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=8),
        "cpt": CPTConfig(
            task_type="CAUSAL_LM", cpt_token_ids=context, cpt_mask=[1] * len(context),
            cpt_tokens_type_mask=[1, *[2] * (len(context) - 1)], num_virtual_tokens=len(context),
            opt_projection_epsilon=5.0, opt_projection_format_epsilon=5.0,
        ),
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        tuned = get_peft_model(copy.deepcopy(lm.model), configs[kind]).eval()
        encoder: Any = tuned.prompt_encoder
        if kind == "cpt":
            encoder["default"].delta_embedding.weight.data.normal_()
        tuned.save_pretrained(str(tmp_path))
        ids = lm.encode_after([task.template.around(example.input)[1] for example in task.test])
        with torch.no_grad():
            rows = [
                tuned.base_model(inputs_embeds=torch.cat([tuned.get_prompt(1), lm.embed(torch.tensor([row]))], 1))
                for row in ids
            ]
    embeds = read_vectors(tmp_path)[tmp_path.name]
    if kind == "cpt":
        assert (embeds - lm.vocab_embeds[context]).norm(dim=1).min() > 0.1, "the trained difference is part of it"
    mine = Scorer(lm, task, task.test).next_token_logits(embeds)
    torch.testing.assert_close(torch.stack([row.logits[0, -1] for row in rows]), mine, rtol=1e-4, atol=1e-4)


def test_prefix_tuning_of_peft_is_refused(tmp_path: Path) -> None:
    from peft import PrefixTuningConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        get_peft_model(copy.deepcopy(tiny_lm("gpt2").model), config).save_pretrained(str(tmp_path))
    with pytest.raises(RequestError, match=r"is a PREFIX_TUNING adapter .it holds keys and values for every layer"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    ("family", "template", "prompt", "says"),
    [
        ("gpt2", "{input} {prompt}", None, "is after the input in '{input} {prompt}'.*use --to text or json"),
        ("roberta", "{prompt} {input} {mask}", None, "tiny-roberta is not one \\(masked\\)"),
        (
            "gpt2",
            "{prompt} {input}",
            SoftPrompt(torch.zeros(2, 7)),
            r"shape \(2, 7\) does not fit tiny-gpt2, whose .* are 16 wide",
        ),
        ("gpt2", "{prompt} {input}", HardPrompt((), ""), "the empty prompt needs no adapter"),
    ],
)
def test_layouts_without_an_adapter_are_refused(family: str, template: str, prompt: Any, says: str, tmp_path: Path) -> None:
    lm = tiny_lm(family)
    with pytest.raises(RequestError, match=says):
        write_adapter(prompt or soft_prompt(lm), lm, Template(template), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Vectors in files


def test_vectors_are_read_from_every_file_format(tmp_path: Path) -> None:
    one, two = np.full((2, 4), 0.5, np.float64), np.zeros((3, 4), np.float16)
    np.save(tmp_path / "one.npy", one)
    np.save(tmp_path / "several.npy", np.stack([one, one]))
    arrays: dict[str, Any] = {"plural,cat": one, "plain": two}
    np.savez(tmp_path / "named.npz", **arrays)
    np.savez(tmp_path / "past-tense,dog.npz", embeds=two)
    save_file({"embeds": torch.zeros(2, 4)}, tmp_path / "a%2Cb,cat.safetensors")
    shapes = {file.name: {name: tuple(v.shape) for name, v in read_vectors(file).items()} for file in tmp_path.iterdir()}
    assert shapes["one.npy"] == {"one": (2, 4)} and shapes["several.npy"] == {"several 1": (2, 4), "several 2": (2, 4)}
    assert shapes["named.npz"] == {"plural,cat": (2, 4), "plain": (3, 4)}
    assert all(v.dtype == torch.float32 for file in tmp_path.iterdir() for v in read_vectors(file).values())
    named = [(each.task, each.word) for each in read_added(tmp_path / "named.npz")]
    assert named == [("plural", "cat"), (None, None)]
    assert [(e.task, e.word) for e in read_added(tmp_path / "past-tense,dog.npz")] == [("past-tense", "dog")]
    assert [(e.task, e.word) for e in read_added(tmp_path / "a%2Cb,cat.safetensors")] == [("a,b", "cat")]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "x.txt": ({"x.txt": b"1 2"}, "holds no soft prompt; expected the folder of a PEFT adapter, or a .npy"),
    "none.npy": ({}, "none.npy cannot be read .FileNotFoundError"),
    "x.npy": ({"x.npy": b"\x93NUMPY"}, "x.npy cannot be read"),
    "x.npz": ({"x.npz": b"PK"}, "x.npz cannot be read"),
    "x.safetensors": ({"x.safetensors": b"{}"}, "x.safetensors cannot be read .SafetensorError"),
    "flat.npy": ({"flat.npy": np.zeros(3)}, r"of shape \(3,\) is not a soft prompt"),
    "whole.npy": ({"whole.npy": np.zeros((3, 2), int)}, "is not a soft prompt; expected numbers"),
    "objects.npy": ({"objects.npy": np.array([[{}]])}, "objects.npy cannot be read .ValueError"),
    "no": ({"no/x": b""}, "no is not a PEFT adapter: it has no adapter_config.json"),
    "lora": (
        {"lora/adapter_config.json": b'{"peft_type": "LORA"}'},
        "lora is a LORA adapter; expected a soft prompt: PROMPT_TUNING, P_TUNING, CPT",
    ),
    "prefix": (
        {"prefix/adapter_config.json": b'{"peft_type": "PREFIX_TUNING"}'},
        r"prefix is a PREFIX_TUNING adapter \(it holds keys and values for every layer, .*\); expected a soft prompt",
    ),
    "tasks": (
        {"tasks/adapter_config.json": b'{"peft_type": "MULTITASK_PROMPT_TUNING"}'},
        r"it holds a prompt for each of several tasks; save that of one task as vectors in a .npy file",
    ),
    "both": (
        {"both/adapter_config.json": b'{"peft_type": "P_TUNING", "num_transformer_submodules": 2}'},
        "both holds vectors for an encoder and for a decoder",
    ),
    "list": ({"list/adapter_config.json": b"[]"}, "adapter_config.json: expected an object"),
    "cut": ({"cut/adapter_config.json": b"{"}, "adapter_config.json is not JSON"),
    "light": ({"light/adapter_config.json": b'{"peft_type": "PROMPT_TUNING"}'}, "the soft prompt in light cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_without_a_soft_prompt_are_refused(name: str, here: Path) -> None:
    files, says = BAD[name]
    for path, content in files.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (here / path).write_bytes(content)
        else:
            np.save(here / path, content, allow_pickle=True)
    with pytest.raises(RequestError, match=says) as raised:
        read_vectors(name)
    assert "\n" not in str(raised.value)


def test_an_inconsistent_adapter_is_refused(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    write_adapter(soft_prompt(lm), lm, Template("{prompt} {input}"), tmp_path)
    (tmp_path / "hardprompt.json").write_text('{"vectors_before": 4}', encoding="utf-8")
    with pytest.raises(RequestError, match="vectors_before is 4; expected a number below 4"):
        read_adapter(tmp_path)
    save_file({"prompt_embeddings": torch.zeros(2, 16)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(RequestError, match=r"has the shape \(2, 16\); expected \(4, 16\), as in adapter_config"):
        read_adapter(tmp_path)


# Exporting runs of a study


@pytest.fixture
def study(here: Path, no_plot: None) -> Path:
    """Two studies of a tiny model with `manual` and `soft`; the prompt is before the input in one and after it in the other."""
    save_tiny(here / "tiny")
    write_jsonl(tiny_task(), here / "mood.jsonl")
    for name, template in (("first", "{prompt} {input} :"), ("last", "{input} {prompt} :")):
        request = StudyRequest.make(
            task="mood.jsonl", template=template, label_words={"positive": "good", "negative": "bad"}, lm="tiny", device="cpu",
            reference_prompts=("good or bad",), optimizers=("empty", "manual", "soft"), options={"soft": {"steps": 2}},
            seeds=(0,), lm_tokens=300, prompt_length=3,
        )  # fmt: skip
        compare(request, here / name)
    return here / "first"


def test_the_export_command_writes_every_form(study: Path, here: Path, ask: Ask) -> None:
    """The text and the ids are exact, and the logits of the adapter equal those of the recorded vectors."""
    status, out, _ = ask(["export", "first", "--to", "text", "--optimizer", "manual"])
    assert status == 0 and "README.md, prompt.txt are in first-text" in out
    assert (here / "first-text" / "prompt.txt").read_bytes() == b" good or bad"
    status, out, _ = ask(["export", "first", "--to", "json", "--number", "2", "--out", "j", "--json"])
    assert status == 0 and json.loads(out) == {"folder": "j", "files": ["README.md", "prompt.json"]}
    said = json.loads((here / "j" / "prompt.json").read_text(encoding="utf-8"))
    point = PromptRef(run=study, number=2).point
    assert point is not None and said["template"] == "{prompt} {input} :" and said["label_words"]["positive"] == "good"
    assert {key: said[key] for key in point} == point
    assert ask(["export", "first", "--to", "peft", "--optimizer", "soft"])[0] == 0
    lm, task = tiny_lm("gpt2"), tiny_task(template=Template("{prompt} {input} :"))
    mine = PromptRef(run=study, optimizer="soft").prompt(lm)
    recorded = load_file(next((here / "first" / "soft").iterdir()))["embeds"]
    assert torch.equal(read_adapter(here / "first-peft").prompt.embeds, recorded)
    theirs = peft_logits(lm, here / "first-peft", [task.template.around(example.input)[1] for example in task.test])
    assert isinstance(mine, HardPrompt), "the folder's model is called tiny, and this one is not"
    asked = [
        "evaluate",
        "--task",
        "mood.jsonl",
        "--template",
        "{prompt} {input} :",
        "--label-words",
        "positive=good,negative=bad",
    ]
    status, out, _ = ask([*asked, "--lm", "tiny", "--device", "cpu", "--soft", "first-peft", "--json"])
    point = PromptRef(run=study, optimizer="soft").point
    assert status == 0 and point is not None
    measured = json.loads(out)
    assert {key: measured[key] for key in ("test_loss", "dev_loss", "test_correct")} == {
        key: point[key] for key in ("test_loss", "dev_loss", "test_correct")
    }, "an adapter is measured as what it was made from"
    torch.testing.assert_close(
        torch.stack(theirs), Scorer(lm, task, task.test).next_token_logits(recorded), rtol=1e-4, atol=1e-4
    )


def test_invalid_export_requests_are_refused(study: Path, here: Path) -> None:
    with pytest.raises(RequestError, match="is after the input"):
        export(PromptRef(run=here / "last", optimizer="soft"), "peft", "out")
    with pytest.raises(RequestError, match="the empty prompt needs no adapter"):
        export(PromptRef(run=study, optimizer="empty"), "peft", "out")
    with pytest.raises(UnknownName, match="no form of export 'pefd'; did you mean 'peft'"):
        export(PromptRef(run=study, optimizer="soft"), "pefd", "out")
    with pytest.raises(RequestError, match="only the prompt of a run can be exported"):
        export(PromptRef(text="x"), "text", "out")
    assert not (here / "out").exists()
    with pytest.raises(StudyError, match="tiny already exists and is not empty; choose another --out"):
        export(PromptRef(run=study, optimizer="soft"), "text", "tiny")


@pytest.mark.parametrize("form", ["peft", "text", "json"])
def test_the_hub_can_read_the_model_card(form: str, study: Path, here: Path) -> None:
    """The front matter contains the results, and a base model only if it can be on the hub."""
    folder = export(PromptRef(run=study, optimizer="soft"), form, here / "out")
    card = ModelCard.load(folder / "README.md")
    point = PromptRef(run=study, optimizer="soft").point
    assert point is not None
    results = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert results["test_accuracy"] == point["test_accuracy"] and card.data.eval_results[0].dataset_name == "mood"
    assert card.data.library_name == ("peft" if form == "peft" else None) and card.data.base_model is None
    assert "hardprompt" in card.data.tags and card.data.pipeline_tag == "text-classification"
    task = load_task("plural")
    text = model_card(point, task, "openai-community/gpt2", form)
    assert ModelCard(text).data.to_dict()["base_model"] == "openai-community/gpt2"


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "lone surrogate"])
def test_hostile_prompts_are_escaped_on_the_model_card(name: str, study: Path) -> None:
    """Fences, headings, front matter and control characters stay inside a code block."""
    point = PromptRef(run=study, optimizer="manual").point
    assert point is not None
    text = f"````\n# not a heading\n---\n{HOSTILE[name]}"
    card = model_card(point | {"prompt_text": text, "optimizer": HOSTILE[name]}, load_task("plural"), "a/b", "text")
    assert not set(card) & set("\x00\x1b\x07\x85\u2028\u202e\u2066\u200f")
    body = ModelCard(card).text
    fenced = body.split("`````text\n")[1].split("\n`````\n")[0]
    assert fenced.startswith("````\n# not a heading\n---\n")
    assert ModelCard(card).data.to_dict()["base_model"] == "a/b"
