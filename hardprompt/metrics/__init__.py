"""Metrics of prompts: can a person read a prompt, and does the text of a soft prompt do what its vectors do?

A metric is a function of a `ScoredPrompt` (`scored_prompt.py`), declared with the decorator `metric` (`base.py`).
`scrutability.py` has those of a text, `copying.py` those of a text against the data of its task, and `faithfulness.py` those of
a soft prompt against its projection.
`sensitivity.py` measures the contribution of the tokens of a prompt and of their order, `continuation_kl.py` the difference
between the continuations under two prompts, `token_f1.py` the words that two texts share, `stability.py` how much the text of a
soft prompt depends on the method of reading, and `interpretation.py` which tasks a text asks for. `tokens.py` describes a
prompt token by token.
"""

from hardprompt.metrics.base import Metric, all_metrics, load_metric, metric
from hardprompt.metrics.continuation_kl import continuation_kl
from hardprompt.metrics.copying import COPYING, copying_lines
from hardprompt.metrics.faithfulness import FAITHFULNESS, faithfulness
from hardprompt.metrics.interpretation import Interpretation, TaskJudge, is_flagged
from hardprompt.metrics.scored_prompt import ScoredPrompt, projection_ids
from hardprompt.metrics.scrutability import SCRUTABILITY, log_perplexity_in_place, repetition, scrutability, whole_word_share
from hardprompt.metrics.sensitivity import deletion_map, order_sensitivity
from hardprompt.metrics.stability import stability
from hardprompt.metrics.token_f1 import token_f1
from hardprompt.metrics.tokens import inspect, token_map

METRICS = [*SCRUTABILITY, *COPYING, *FAITHFULNESS]

__all__ = [
    "COPYING",
    "FAITHFULNESS",
    "METRICS",
    "SCRUTABILITY",
    "Interpretation",
    "Metric",
    "ScoredPrompt",
    "TaskJudge",
    "all_metrics",
    "continuation_kl",
    "copying_lines",
    "deletion_map",
    "faithfulness",
    "inspect",
    "is_flagged",
    "load_metric",
    "log_perplexity_in_place",
    "metric",
    "order_sensitivity",
    "projection_ids",
    "repetition",
    "scrutability",
    "stability",
    "token_f1",
    "token_map",
    "whole_word_share",
]
