"""The log-perplexity of a prompt in its place equals that of plain forward passes, one row at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt import evaluate
from hardprompt.data.task import Example, Task, Template
from hardprompt.lm import FrozenLM, log_perplexity
from hardprompt.metrics import inspect
from hardprompt.metrics.scrutability import in_place
from hardprompt.prompt import SoftPrompt
from hardprompt.records.schema import run_record
from hardprompt.scoring import Scorer
from tests.helpers import Ask
from tests.helpers.plain import sequence
from tests.helpers.tiny import CAUSAL, ENCODER_DECODER, MASKED, tiny_lm, tiny_task

PLACES = {"last": "{input}\n{prompt}", "middle": "say {input} {prompt} :", "behind a text": "Task: {prompt} {input}", "first": "{prompt} {input}"}


@torch.no_grad()
def plain_causal(lm: FrozenLM, task: Task, example: Example, ids: list[int]) -> list[float]:
    """-log p of each token of the prompt in the whole row, NaN for a first token of the row."""
    row = sequence(lm, task, example, ids)
    start = len(sequence(lm, task, example, ids)) - len(row) + len(lm.prefix_ids) + len(lm.encode(task.template.around(example.input)[0]))
    assert row[start : start + len(ids)] == ids
    log_probs = lm.model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
    return [-float(log_probs[at - 1, row[at]]) if at else float("nan") for at in range(start, start + len(ids))]
