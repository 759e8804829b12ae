"""Exports of a prompt together with the test examples: a task of the EleutherAI evaluation harness, and a script.

Both read whole texts with the prompt in place and give the accuracy of the deployed text (`deployed_test_accuracy`). The
tokens that they read are compared here with those that hardprompt reads; a text that they would read in another way is refused.
"""

import json
import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from hardprompt.data.task import Task
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.lm.chat import ChatTemplate, start_ids, template_of
from hardprompt.scoring.answers import answer_tokens
from hardprompt.scoring.targets import MAX_BLANKS

DATA = '''"""Reads the test examples, which are next to this file."""

import json
from pathlib import Path

from datasets import Dataset, DatasetDict


def load(**_):
    lines = Path(__file__).with_name("test.jsonl").read_text(encoding="utf-8").split("\\n")
    return DatasetDict({"test": Dataset.from_list([json.loads(line) for line in lines if line])})
'''


@dataclass(frozen=True)
class PlainTask:
    """The test examples of a task as texts for other programs.

    Attributes:
        examples: for each example, the `text` up to the answer, and the `answer`: the number of the label, or the target.
        label_words: the word of each label; empty for a generation task.
        separator: the text between text and answer.
        special_tokens: whether the tokenizer adds its own special tokens; otherwise they are in the text.
        max_new_tokens: for a generation task, the largest number of tokens of an answer.
    """

    examples: list[dict[str, Any]]
    label_words: list[str]
    separator: str
    special_tokens: bool
    max_new_tokens: int


def plain_task(lm: FrozenLM, task: Task, prompt: str) -> PlainTask:
    """The test examples of a task with a prompt in place, as texts that a tokenizer reads as hardprompt does.

    Args:
        lm: the model.
        task: the task; its inputs fit the model (`hardprompt.scoring.truncation`).
        prompt: the text of the prompt.

    Raises:
        RequestError: the model is not causal, an answer is not compared as a whole, or the tokenizer reads the texts in
            another way than hardprompt does.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> found = plain_task(load_lm("microworld"), load_task("plural"), "give the plural")
        >>> found.examples[0], found.special_tokens
        ({'text': '<s>give the plural: shirt =', 'answer': 'shirts'}, False)
    """
    if lm.kind != "causal":
        raise RequestError(f"{lm.name} is not a causal model ({lm.kind}); use --to text or json")
    if task.kind == "generation" and task.match != "exact":
        raise RequestError(
            f"task {task.name} compares answers with match {task.match!r}, expected exact; use --to text or json"
        )
    template = template_of(lm, task)
    texts = [template.fill(example.input, prompt) for example in task.test]
    start = start_ids(lm, template)
    wanted = [start + ids for ids in lm.encode_many(texts)]
    begun = [lm.tokenizer.decode(start) + text for text in texts]
    for own, special_tokens in ((texts, True), (begun, False)):
        if _read(lm, own, special_tokens) == wanted:
            break
    else:
        raise RequestError(
            f"the tokenizer of {lm.name} reads the start of a text differently than hardprompt; use --to text or json"
        )
    separator = template.answer_blank if isinstance(template, ChatTemplate) else task.separator
    words = list(task.label_words.values())
    for word, answer in zip(words, answer_tokens(lm, task, words), strict=True):
        if _read(lm, [text + separator + word for text in own], special_tokens) != [ids + answer for ids in wanted]:
            raise RequestError(
                f"the tokenizer of {lm.name} joins the label word {word!r} and the text before it; use --to text or json"
            )
    room = lm.max_length - max(map(len, wanted))
    longest = max(len(example.answer.encode()) for example in task.test) + MAX_BLANKS
    answers = [task.labels.index(e.answer) if words else e.answer.strip() for e in task.test]
    examples = [{"text": text, "answer": answer} for text, answer in zip(own, answers, strict=True)]
    return PlainTask(examples, words, separator, special_tokens, min(room, longest))


def write_script(folder: Path, plain: PlainTask, dtype: str) -> None:
    """Write `evaluate.py`, which needs only transformers, and the examples as `task.json`."""
    script = files("hardprompt").joinpath("exported_script.py").read_text(encoding="utf-8")
    (folder / "evaluate.py").write_text(script, encoding="utf-8", newline="\n")
    contents = json.dumps({"dtype": dtype} | asdict(plain), indent=1, ensure_ascii=False) + "\n"
    (folder / "task.json").write_text(contents, encoding="utf-8", newline="\n")


def write_lm_eval(folder: Path, plain: PlainTask, task: str) -> None:
    """Write a task of the EleutherAI evaluation harness: its configuration, `data.py` and `test.jsonl`."""
    config: dict[str, Any] = {
        "task": lm_eval_name(task),
        "custom_dataset": _Function("data.load"),
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "text",
        "doc_to_target": "answer",
        "target_delimiter": plain.separator,
    }
    if plain.label_words:
        metric = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
        config |= {"output_type": "multiple_choice", "doc_to_choice": plain.label_words}
    else:
        metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
        asked = {"until": ["\n"], "do_sample": False, "max_gen_toks": plain.max_new_tokens}
        strip = [{"function": "regex", "regex_pattern": r"^\s*(.*?)\s*$"}, {"function": "take_first"}]
        config |= {
            "output_type": "generate_until",
            "generation_kwargs": asked,
            "filter_list": [{"name": "strip", "filter": strip}],
        }
    config |= {"metric_list": [metric], "metadata": {"version": 1.0}}
    text = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    (folder / f"{lm_eval_name(task)}.yaml").write_text(text, encoding="utf-8", newline="\n")
    (folder / "data.py").write_text(DATA, encoding="utf-8", newline="\n")
    lines = "".join(json.dumps(row) + "\n" for row in plain.examples)
    (folder / "test.jsonl").write_text(lines, encoding="utf-8", newline="\n")


def lm_eval_command(plain: PlainTask, task: str, model: str, dtype: str) -> str:
    """The command line that runs the exported task in its folder."""
    of_model = f"pretrained={model},dtype={dtype}" + ("" if plain.special_tokens else ",add_bos_token=False")
    return f"lm_eval --model hf --model_args {of_model} --tasks {lm_eval_name(task)} --include_path . --batch_size 1"


def lm_eval_name(task: str) -> str:
    """The name of the exported task.

    >>> lm_eval_name("my task")
    'hardprompt_my_task'
    """
    return f"hardprompt_{re.sub(r'[^A-Za-z0-9_-]', '_', task)}"


class _Function(str):
    """A reference to a function in a file next to the configuration."""


class _Dumper(yaml.SafeDumper):
    """Writes references to functions with their tag."""


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


def _read(lm: FrozenLM, texts: list[str], special_tokens: bool) -> list[list[int]]:
    return lm.tokenizer(texts, add_special_tokens=special_tokens, verbose=False)["input_ids"]
