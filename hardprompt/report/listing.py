"""What `hardprompt ls` shows: tasks, models, optimizers and metrics on offer."""

import warnings
from typing import Any

from rich.table import Table
from rich.text import Text

from hardprompt.data.catalogue import all_tasks, load_task
from hardprompt.data.datasets import DataTask
from hardprompt.errors import HardpromptError
from hardprompt.lm import EMBEDDED
from hardprompt.optimizers import all_optimizers

Entry = dict[str, Any]


def list_tasks() -> list[Entry]:
    """Every installed task, described; one on real data without its sizes."""
    entries = []
    for name, task in all_tasks().items():
        try:
            entries.append((task if isinstance(task, DataTask) else load_task(name)).describe())
        except HardpromptError as error:
            warnings.warn(f"task {name} cannot be listed: {error}", stacklevel=2)
    return entries


def list_lms() -> list[Entry]:
    """The embedded models."""
    return [{"name": name, "embedded": True} for name in EMBEDDED]


def list_optimizers() -> list[Entry]:
    """Every installed optimizer with its options and their defaults."""
    return [
        {
            "name": optimizer.name,
            "description": optimizer.summary,
            "sweeps_weight": optimizer.uses_weight,
            "options": optimizer.config().model_dump(mode="json"),
        }
        for optimizer in all_optimizers().values()
    ]


def list_metrics() -> list[Entry]:
    """What is measured of every prompt, with its unit and direction."""
    rows = [
        ("test_accuracy", "fraction", "of what was optimized (for a soft prompt, its vectors)"),
        ("deployed_test_accuracy", "fraction", "of the text, tokenized afresh in its place"),
        ("train_accuracy", "fraction", "of what was optimized, on the examples it was optimized on"),
        ("dev_accuracy", "fraction", "of what was optimized, on the examples it was selected on"),
        ("deployed_dev_accuracy", "fraction", "of the text; the members of a front are chosen by it"),
        (
            "roundtrip_ok",
            "yes or no",
            "whether the text, tokenized afresh in its place, gives the same ids on every test example",
        ),
        ("curve.dev_objective", "nats per example", "of the best prompt so far on dev, wherever a better one was visited"),
        ("curve.dev_accuracy", "fraction", "of the same prompt"),
        ("curve.lm_tokens", "tokens", "what had been spent by then, forward and backward"),
        ("emitted.mean_test_accuracy", "fraction", "of what the optimizer emits at its end, beside the best it visited"),
        ("test_loss", "nats per example", "task loss of what was optimized"),
        ("test_correct", "0 or 1", "of each test example in turn, whether what was optimized is right on it"),
        ("train_loss", "nats per example", "the same on the examples it was optimized on"),
        ("dev_loss", "nats per example", "the same on the examples it was selected on"),
        ("deployed_test_loss", "nats per example", "of the text, tokenized afresh in its place"),
        ("log_perplexity", "nats per token", "mean NLL of the prompt under the task LM"),
        ("reader_log_perplexity", "nats per token", "readers.NAME.log_perplexity of the first reader"),
        ("reader_nats_per_character", "nats per character", "readers.NAME.nats_per_character of the first reader"),
        (
            "readers.NAME.log_perplexity",
            "nats per token",
            "mean NLL of the text under a reader, which was not optimized against",
        ),
        ("readers.NAME.nats_per_character", "nats per character", "total surprisal under it over the characters of the text"),
        ("readers.NAME.max_surprisal", "nats", "of the token that it expects least"),
        (
            "readers.NAME.gap_nats_per_character",
            "nats per character",
            "its nats per character minus the task LM's: how much better the text pleases the model it was made for",
        ),
        ("readers.NAME.tokens", "tokens", "how many the text is to it; where they exceed its context, it says nothing else"),
        ("scrutability.nats_per_character", "nats per character", "total surprisal over the characters of the text"),
        ("scrutability.max_surprisal", "nats", "of the least expected token"),
        ("scrutability.max_surprisal_position", "position", "of that token, from 1"),
        ("scrutability.repetition", "fraction", "tokens that occurred earlier in the prompt"),
        ("scrutability.distinct_tokens", "tokens", "how many different ones the prompt has"),
        ("scrutability.whole_word_share", "fraction", "tokens that are complete words"),
        ("tokens.surprisal", "nats", "of each token of the text under the task LM"),
        ("tokens.loss_added", "nats per example", "dev loss of the text without this token minus that of the text"),
        ("tokens.accuracy_lost", "fraction", "dev accuracy of the text minus that without this token"),
        ("tokens.marked", "yes or no", "whether a small change of method reads another token off the soft prompt here"),
        ("faithfulness.distance_cosine", "1 - cosine", "mean distance to the closest allowed token (Patel et al.)"),
        ("faithfulness.distance_euclidean", "embedding units", "the same, Euclidean"),
        (
            "faithfulness.output_gap",
            "squared logits",
            "mean squared difference of logits, soft against projection (Patel et al.)",
        ),
        ("faithfulness.loss_gap", "nats per example", "absolute difference of test loss (Patel et al.)"),
        ("faithfulness.accuracy_gap", "fraction", "test accuracy of the soft prompt minus its projection's"),
        ("faithfulness.agreement", "fraction", "examples with the same prediction"),
        ("faithfulness.kl", "nats", "KL of next-token distributions, soft from projection"),
        ("faithfulness.label_kl", "nats", "the same over the label words"),
        ("faithfulness.behavioural_distance", "nats", "KL of sampled continuations, soft from projection (evil twins)"),
    ]
    return [{"name": name, "unit": unit, "description": text} for name, unit, text in rows]


LISTINGS = {"tasks": list_tasks, "lms": list_lms, "optimizers": list_optimizers, "metrics": list_metrics}


def listing_table(entries: list[Entry]) -> Table:
    """A table with a column per key that holds a short value."""
    keys = [key for key in entries[0] if not isinstance(entries[0][key], dict | list)] if entries else []
    table = Table(pad_edge=False)
    for key in keys:
        table.add_column(key)
    for entry in entries:
        table.add_row(*[Text(str(entry[key]).replace("\n", "\\n")) for key in keys])
    return table
