"""Exporting a prompt from a study to a folder with a Hugging Face model card.

Prompts and names are untrusted text. In the card they are formatted as code, and unprintable characters are escaped.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from hardprompt import __version__
from hardprompt.adapter import write_adapter
from hardprompt.data.task import Task, Template
from hardprompt.errors import RequestError, StudyError, UnknownName
from hardprompt.escaping import printable
from hardprompt.export_tasks import lm_eval_command, plain_task, write_lm_eval, write_script
from hardprompt.lm.chat import template_of
from hardprompt.lm.packaged import PACKAGED
from hardprompt.lm.sources import named_path
from hardprompt.records.prompt_ref import PromptRef
from hardprompt.scoring.truncation import fit_to_context
from hardprompt.study.loading import load_model, load_tasks

FORMS = ("peft", "text", "json", "lm-eval", "transformers")

MEASURES = ("test_accuracy", "test_loss", "deployed_test_accuracy", "log_perplexity", "log_perplexity_in_place",
            "reader_log_perplexity")  # fmt: skip
"""The measures on the card, where they are recorded."""


def export(named: PromptRef, to: str, out: str | Path | None = None) -> Path:
    """Write the prompt that a run found to a folder.

    Args:
        named: the run.
        to: "peft" writes a prompt-tuning adapter (`hardprompt.adapter.write_adapter`), "text" writes the exact text to
            `prompt.txt`, and "json" writes the token ids, the text, the template and the whole line of the run to
            `prompt.json`. "lm-eval" writes a task of the EleutherAI evaluation harness, and "transformers" a script, with the
            test examples; both measure the accuracy of the text. The text of a soft prompt is the text of its projection, which
            may perform differently; the card has the accuracies of both.
        out: a folder that is empty or does not exist; by default FOLDER-TO, next to the folder of the study.

    Returns:
        The folder.

    Raises:
        UnknownName: if the form does not exist.
        RequestError: if the prompt is not that of a run, the run does not exist, no adapter exists for its layout, or other
            programs would not read its task as hardprompt does (`hardprompt.export_tasks.plain_task`).
        StudyError: if the folder is not empty, or the data of the study's task have changed.

    Example:
        >>> export(PromptRef(run=Path("runs/quick"), number=2), "text").name
        'quick-text'
    """
    if to not in FORMS:
        raise UnknownName("form of export", to, FORMS)
    if named.run is None or named.point is None:
        raise RequestError("only the prompt of a run can be exported; give the folder of its study with --run")
    named_run = named.run if named.run.name not in ("", "..") else named.run.resolve()
    point, folder = named.point, Path(out or f"{named_run}-{to}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} already exists and is not empty; choose another --out")
    request = named.request({})
    [task] = load_tasks(request).values()
    named.check_data(task, {})
    details, template, command = _details(point, task, request.lm), task.template, ""
    if to == "peft":
        lm = load_model(request)
        template = template_of(lm, task)
        write_adapter(named.prompt(lm, template), lm, template, folder, _base_model(request.lm), details)
    elif to in ("lm-eval", "transformers"):
        lm = load_model(request)
        template = template_of(lm, task)
        plain = plain_task(lm, fit_to_context(task, lm, request.prompt_length), point["prompt_text"])
        folder.mkdir(parents=True, exist_ok=True)
        model = shlex.quote(_base_model(request.lm)) if _on_hub(request.lm) else "MODEL"
        if to == "lm-eval":
            write_lm_eval(folder, plain, task.name)
            command = lm_eval_command(plain, task.name, model, request.dtype)
        else:
            write_script(folder, plain, request.dtype)
            command = f"python evaluate.py {model}"
    else:
        folder.mkdir(parents=True, exist_ok=True)
        name, content = ("prompt.txt", point["prompt_text"]) if to == "text" else ("prompt.json", _json(details))
        (folder / name).write_text(content, encoding="utf-8", newline="")
    (folder / "README.md").write_text(
        model_card(point, task, request.lm, to, template, command), encoding="utf-8", newline="\n"
    )
    return folder


def model_card(point: dict[str, Any], task: Task, lm: str, to: str, template: Template | None = None, command: str = "") -> str:
    """The Hugging Face model card of a prompt: the text of a README.md with a YAML header.

    Args:
        point: the line of `points.jsonl`.
        task: the task of the study.
        lm: the name of the model in the study; the card has it as `base_model` if it is a hub id.
        to: one of `FORMS`.
        template: the template as the model reads it; by default that of the task.
        command: the command that measures the prompt, where the form has one.
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
    if _on_hub(lm):
        front["base_model"] = printable(_base_model(lm))
    searched = _code(", ".join(point.get("by_lm") or [lm]))
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# A prompt for {_code(task.name)}",
        "",
        f"Found by {_code(point['optimizer'])} (fluency weight {point['weight']:g}, seed {point['seed']}) on {searched} with "
        f"hardprompt {__version__}, on the data split {_code(point['split'])}.",
        "",
        "| measured on test | |",
        "|---|---|",
        *(f"| {name} | {point[name]:.4f} |" for name in MEASURES if point.get(name) is not None),
        "",
        "Accuracies are fractions: `test_accuracy` is that of the optimized prompt, `deployed_test_accuracy` that of its text. "
        "Losses are in nats per example, log-perplexities in nats per token.",
        "",
        *_usage(point, task, to, template or task.template, command),
    ]
    return "\n".join(lines) + "\n"


def _on_hub(lm: str) -> bool:
    """Whether the name of a model is, or stands for, an id of the hub."""
    return lm in PACKAGED or named_path(lm) is None


def _base_model(lm: str) -> str:
    """The name of a model for other programs: the hub id of one that is downloadable from elsewhere."""
    return PACKAGED[lm].hub_id if lm in PACKAGED else lm


def _usage(point: dict[str, Any], task: Task, to: str, template: Template, command: str) -> list[str]:
    soft = "reason" not in point["faithfulness"]
    lines = ["## The prompt", "", *_block(point["prompt_text"])] if point["prompt_text"] else ["The prompt is empty."]
    if soft:
        lines += [
            "",
            "It was trained as vectors. This is the text of the nearest tokens; its accuracy is `deployed_test_accuracy`.",
        ]
    lines += ["", "## How to use it", ""]
    if command:
        measured = f"This command measures `deployed_test_accuracy`, {point['deployed_test_accuracy']:.4f}, again"
        where = "; MODEL is the folder of the model" if "MODEL" in command else ""
        return [*lines, f"{measured}{where}:", "", "```sh", command, "```"]
    if to != "peft":
        where = "Insert it at `{prompt}` in the template:"
        if task.chat:
            where = "It belongs to a chat, which the chat template of the model renders. " + (
                "It is the system's turn, and the user's turn is this text without `{prompt}`:"
                if task.prompt_turn == "system"
                else "The user's turn is this text, with the prompt at `{prompt}`:"
            )
        return [*lines, where, "", *_block(task.template.text)]
    return [
        *lines,
        "The adapter holds the vectors of everything up to the end of the prompt, including the beginning-of-sequence token. "
        "The text after it is tokenized without special tokens and padded on the right:",
        "",
        *_block(template.around("{input}")[1]),
        "",
        "```python",
        "from peft import PeftModel",
        "",
        "model = PeftModel.from_pretrained(base_model, folder)",
        "ids = tokenizer(text, add_special_tokens=False, return_tensors='pt').input_ids",
        "logits = model(input_ids=ids).logits[:, -1]",
        "```",
    ]


def _details(point: dict[str, Any], task: Task, lm: str) -> dict[str, Any]:
    of_task = {"template": task.template.text, "separator": task.separator, "label_words": dict(task.label_words)}
    of_chat = {"chat": True, "prompt_turn": task.prompt_turn} if task.chat else {}
    return of_task | of_chat | {"base_model": lm, "hardprompt": __version__} | point


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _code(text: str) -> str:
    """Untrusted text as inline code in Markdown."""
    shown = str(printable(text))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    blank = " " if "`" in shown else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def _block(text: str) -> list[str]:
    """The lines of a Markdown code block with untrusted text."""
    shown = ["".join(str(printable(character)) for character in line) for line in text.split("\n")]
    fence = "`" * max(3, 1 + max((len(run) for line in shown for run in re.findall("`+", line)), default=0))
    return [f"{fence}text", *shown, fence]
