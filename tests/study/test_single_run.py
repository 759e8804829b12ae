"""`hardprompt.optimize`: one run from names or objects, and the result as it is displayed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

import hardprompt as hp
from hardprompt.errors import RequestError, UnknownName
from hardprompt.optimizers import Candidate, load_optimizer, run_optimizer
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task


def ids_of(result: hp.PromptResult) -> list[tuple[int, ...]]:
    return [candidate.prompt.ids for candidate in result.candidates if isinstance(candidate.prompt, hp.HardPrompt)]


def test_the_result_agrees_with_the_single_steps(microworld: hp.FrozenLM) -> None:
    """Arguments of the run and options of the optimizer are distinguished by their names."""
    result = hp.optimize(
        "plural", "microworld", "pez", weight=0.1, seed=3, prompt_length=3, steps=6, batch_size=4, device="cpu"
    )
    pez = load_optimizer("pez")
    problem = hp.Problem(hp.load_task("plural"), microworld, weight=0.1, seed=3, prompt_length=3)
    expected = run_optimizer(pez, problem, pez.configure({"steps": 6, "batch_size": 4}))
    assert ids_of(result) == ids_of(expected) and result.best.dev_objective == expected.best.dev_objective
    assert (result.weight, result.seed, result.config["steps"]) == (0.1, 3, 6)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("gpt2", AutoModelForCausalLM),
        ("llama", AutoModelForCausalLM),
        ("roberta", AutoModelForMaskedLM),
        ("t5", AutoModelForSeq2SeqLM),
    ],
)
def test_a_given_model_is_unchanged_after_the_run(tmp_path: Path, family: str, kind: Any) -> None:
    """The result equals that from the model's folder. Training mode and gradients are restored, also after an error."""
    folder = save_tiny(tmp_path / "tiny", family)
    model, tokenizer = kind.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.train()
    model.get_input_embeddings().weight.requires_grad_(False)
    model.base_model.eval()
    before = [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
    weights = [parameter.clone() for parameter in model.parameters()]
    of_task = "generation" if family == "t5" else "classification"
    live = hp.optimize(tiny_task(of_task), (model, tokenizer), "pez", steps=4, prompt_length=3)
    assert ids_of(live) == ids_of(hp.optimize(tiny_task(of_task), folder, "pez", steps=4, prompt_length=3, device="cpu"))
    with pytest.raises(RequestError, match="has no reference prompts"):
        hp.optimize(tiny_task(of_task, reference_prompts=[]), (model, tokenizer), "manual")
    assert ([module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]) == before
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))


def test_folders_with_one_name_have_names_of_their_own(tmp_path: Path) -> None:
    folders = [save_tiny(tmp_path / parent / "model", family) for parent, family in (("a", "gpt2"), ("b", "llama"))]
    result = hp.optimize(tiny_task(), [str(folder) for folder in folders], "random", prompts=2, prompt_length=2)
    assert len(result.candidates) == 2


def test_null_as_text_is_none() -> None:
    """Recipes and the command line give values as text."""
    assert load_optimizer("rl").configure({"examples": "null"}).examples is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stps": 3}, "no argument or pez option 'stps'; did you mean 'steps'"),
        ({"wieght": 0.1}, "no argument or pez option 'wieght'; did you mean 'weight'"),
        ({"steps": 0}, "option pez.steps: expected a number greater than 0; got 0"),
        ({"weight": -1.0}, "weights: a weight must be a finite number of at least 0"),
        ({"prompt_length": 0}, "prompt_length: expected a number greater than 0; got 0"),
        ({"task": "plurel"}, "no task 'plurel'; did you mean 'plural'"),
        ({"optimizer": "pex"}, "no optimizer 'pex'; did you mean 'pez'"),
        ({"task": 3}, "task must be a name, a folder, a hardprompt.Task; got int"),
        (
            {"lm": torch.nn.Linear(1, 1)},
            r"lm must be a name, a folder, a hardprompt.FrozenLM or \(model, tokenizer\); got Linear",
        ),
        ({"lm": (1, 2, 3)}, r"\(model, tokenizer\); got 3 objects"),
        ({"task": tiny_task(), "shots": 4}, "shots: only for a task that is given by name"),
        ({"lm": tiny_lm("gpt2"), "device": "cpu"}, "device: only for a lm that is given by name"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((RequestError, UnknownName), match=message) as caught:
        hp.optimize(**{"task": "plural", "lm": "microworld", **arguments})
    assert "\n" not in str(caught.value)


def test_a_result_is_displayed_on_one_line_and_escaped() -> None:
    """A prompt may contain markup, line breaks and characters that change the direction of text."""
    text = "<script>alert(1)</script>\n\u202e"
    best = Candidate(hp.HardPrompt((1,), text), 0.5, 0.5, 0.75, 3.0, 10)
    result = hp.PromptResult("pez", 0.1, 0, {}, best, (best.prompt,), (best,) * 500, (), 10, 5, 1.25)
    shown = repr(result)
    assert len(shown) < 300 and shown.isprintable() and "dev_accuracy=0.75" in shown and "candidates=500" in shown
    page = result._repr_html_()
    assert "<script" not in page and "&lt;script&gt;" in page and page.isprintable()
    assert set(re.findall(r"</?(\w+)", page)) == {"table", "tr", "th", "td"}
    soft = hp.optimize(tiny_task(), tiny_lm("gpt2"), "soft", steps=1, prompt_length=3)
    assert "prompt=SoftPrompt(shape=(3, 16))" in repr(soft)
