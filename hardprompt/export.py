"""Taking a prompt out of a study: as a peft adapter, as text or as JSON, each in a folder with a Hugging Face model card.

Prompts and names are hostile text: in the card they stand in code, with signs that cannot be printed written as their number.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from hardprompt import __version__
from hardprompt.adapter import write_adapter
from hardprompt.data.task import Task
from hardprompt.errors import RequestError, StudyError, UnknownName
from hardprompt.lm.loading import EMBEDDED
from hardprompt.records.prompt_ref import PromptRef
from hardprompt.report.escaping import printable
from hardprompt.study.loading import load_model, load_tasks

FORMS = ("peft", "text", "json")

MEASURES = ("test_accuracy", "test_loss", "deployed_test_accuracy", "log_perplexity", "reader_log_perplexity")
"""What the card says of a prompt, where it is known."""


def export(named: PromptRef, to: str, out: str | Path | None = None) -> Path:
    """Write what a run found to a folder.

    Args:
        named: the run, as `hardprompt evaluate --run` names it.
        to: "peft" writes a prompt-tuning adapter (`hardprompt.adapter.write_adapter`), "text" the exact text to `prompt.txt`,
            "json" ids, text, template and everything that is recorded of the run to `prompt.json`. The text of a soft prompt is
            that of its projection, which need not do what the vectors do; the card has both accuracies.
        out: a folder that is empty or not there; by default beside the study, FOLDER-TO.

    Raises:
        UnknownName: no such form.
        RequestError: the prompt is not one of a run, there is no such run, or its layout has no adapter.
        StudyError: the folder is not empty, or the study's task has other data now.

    Example:
        >>> export(PromptRef(run=Path("hardprompt-out/category-microworld"), number=2), "text")      # doctest: +SKIP
        PosixPath('hardprompt-out/category-microworld-text')
    """
    if to not in FORMS:
        raise UnknownName("form of export", to, FORMS)
    if named.run is None or named.point is None:
        raise RequestError("only what a run found is exported; give its folder with --run")
    point, folder = named.point, Path(out or f"{named.run}-{to}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} is there already and not empty; choose another --out")
    request = named.request({})
    [task] = load_tasks(request).values()
    named.check_data(task, {})
    said = _described(point, task, request.lm)
    if to == "peft":
        lm = load_model(request)
        write_adapter(named.prompt(lm, task.template), lm, task.template, folder, request.lm, said)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        name, content = ("prompt.txt", point["prompt_text"]) if to == "text" else ("prompt.json", _json(said))
        (folder / name).write_text(content, encoding="utf-8", newline="")
    (folder / "README.md").write_text(model_card(point, task, request.lm, to), encoding="utf-8", newline="\n")
    return folder


def model_card(point: dict[str, Any], task: Task, lm: str, to: str) -> str:
    """A Hugging Face model card, README.md with YAML before it, of a prompt.

    Args:
        point: the line of `points.jsonl`.
        task: what it was made for.
        lm: the model as the study names it; it is the card's `base_model` where it is an id of the hub.
        to: one of `FORMS`.
    """
    kind = "text-classification" if task.kind == "classification" else "text-generation"
    metrics = [{"type": name, "name": name, "value": point[name]} for name in MEASURES if point.get(name) is not None]
    metrics = [{**metric, "type": "accuracy"} if metric["name"] == "test_accuracy" else metric for metric in metrics]
    name = str(printable(task.name))
    result = {"task": {"type": kind}, "dataset": {"name": name, "type": name, "split": "test"}, "metrics": metrics}
    front: dict[str, Any] = {
        "tags": ["hardprompt", "prompt", *(["prompt-tuning"] if to == "peft" else [])],
        "pipeline_tag": kind if task.kind == "classification" else "text-generation",
        "model-index": [{"name": f"{printable(point['optimizer'])} prompt for {name}", "results": [result]}],
    }
    if to == "peft":
        front["library_name"] = "peft"
    if lm not in EMBEDDED and not Path(lm).expanduser().is_dir():
        front["base_model"] = printable(lm)
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# A prompt for {_code(task.name)}",
        "",
        f"Found by {_code(point['optimizer'])} (fluency weight {point['weight']:g}, seed {point['seed']}) on {_code(lm)} with "
        f"hardprompt {__version__}, on the data split {_code(point['split'])}.",
        "",
        "| measured on test | |",
        "|---|---|",
        *(f"| {name} | {point[name]:.4f} |" for name in MEASURES if point.get(name) is not None),
        "",
        "Accuracies are fractions; `test_accuracy` is of what was optimized, `deployed_test_accuracy` of the text. Losses are "
        "in nats per example, log-perplexities in nats per token.",
        "",
        *_usage(point, task, to),
    ]
    return "\n".join(lines) + "\n"


def _usage(point: dict[str, Any], task: Task, to: str) -> list[str]:
    soft = "reason" not in point["faithfulness"]
    lines = ["## The prompt", "", *_block(point["prompt_text"])] if point["prompt_text"] else ["The prompt is empty."]
    if soft:
        lines += [
            "",
            "It was trained as vectors; this is the text of the closest tokens, and what it does is `deployed_test_accuracy`.",
        ]
    lines += ["", "## How to use it", ""]
    if to != "peft":
        return [*lines, "It stands at `{prompt}` in the template:", "", *_block(task.template.text)]
    after = task.template.around("{input}")[1]
    return [
        *lines,
        "The adapter holds the vectors of everything up to the prompt's end, the beginning-of-sequence token included. What "
        "follows it is tokenized without special tokens and padded on the right:",
        "",
        *_block(after),
        "",
        "```python",
        "from peft import PeftModel",
        "",
        "model = PeftModel.from_pretrained(base_model, folder)",
        "ids = tokenizer(text, add_special_tokens=False, return_tensors='pt').input_ids",
        "logits = model(input_ids=ids).logits[:, -1]",
        "```",
    ]


def _described(point: dict[str, Any], task: Task, lm: str) -> dict[str, Any]:
    of_task = {"template": task.template.text, "separator": task.separator, "label_words": dict(task.label_words)}
    return of_task | {"base_model": lm, "hardprompt": __version__} | point


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _code(text: str) -> str:
    """Text in a line of Markdown that stays text."""
    shown = str(printable(text))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    blank = " " if "`" in shown else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def _block(text: str) -> list[str]:
    """Text as a block of Markdown that stays text, line by line."""
    shown = ["".join(str(printable(sign)) for sign in line) for line in text.split("\n")]
    fence = "`" * max(3, 1 + max((len(run) for line in shown for run in re.findall("`+", line)), default=0))
    return [f"{fence}text", *shown, fence]
