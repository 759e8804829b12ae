"""What every metric shares: its declaration, the decorator `metric`, and the registry that finds metrics by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, RunError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.metrics.scored_prompt import ScoredPrompt
from hardprompt.plugins import load_plugin, plugins_by_name
from hardprompt.prompt import HardPrompt, SoftPrompt

Better = Literal["higher", "lower", "none"]
Prompts = Literal["hard", "soft", "any"]
Number = int | float | None
Value = Number | dict[str, Number]
Control = str | HardPrompt | SoftPrompt
Controls = Callable[[FrozenLM, Task], tuple[Control, Control]]


@dataclass(frozen=True)
class Metric:
    """A named function of a scored prompt, with the information that its values need.

    Attributes:
        name: the key of the metric in the record.
        measure: maps a `ScoredPrompt` to a finite number, to None where it has no value, or to a flat dict of both.
        unit: the unit of its values, such as "nats per token".
        better: which direction is better: "higher", "lower" or "none".
        prompts: which prompts it applies to: "hard", "soft" or "any"; it is None for the others.
        description: the description, one line.
        group: the object of the record that holds it.
        controls: returns, for a model and a task, two prompts or texts of which the first must have the higher value.
    """

    name: str
    measure: Callable[[ScoredPrompt], Value]
    unit: str
    better: Better
    prompts: Prompts
    description: str
    group: str
    controls: Controls

    def __call__(self, scored: ScoredPrompt) -> Value:
        """The value of a prompt.

        Raises:
            RunError: the function returned something else than a number, None or a flat dict of these.
        """
        if self.prompts != "any" and scored.is_soft != (self.prompts == "soft"):
            return None
        value = self.measure(scored)
        for each in value.values() if isinstance(value, dict) else (value,):
            if each is not None and not isinstance(each, int | float):
                raise RunError(f"metric {self.name} returned {each!r}; return a number, None or a flat dict of these")
        return value


def metric(
    name: str, *, unit: str, better: Better, prompts: Prompts, controls: Controls, group: str = "metrics"
) -> Callable[[Callable[[ScoredPrompt], Value]], Metric]:
    """Make a function of a scored prompt a metric; the first line of its docstring is the description.

    Args:
        name: the key of the metric in the record.
        unit: the unit of its values.
        better: which direction is better: "higher", "lower" or "none".
        prompts: which prompts it applies to: "hard", "soft" or "any".
        controls: returns, for a model and a task, two prompts of which the first must have the higher value. The contract
            tests check it.
        group: the object of the record that holds the value.

    Raises:
        RequestError: `better` or `prompts` has another value, or the function has no docstring.

    Example:
        >>> @metric("characters", unit="characters", better="lower", prompts="any", controls=lambda lm, task: ("longer", "a"))
        ... def characters(scored):
        ...     '''Number of characters of the text.'''
        ...     return len(scored.hard.text)
        >>> characters.description
        'Number of characters of the text.'
    """

    def declare(measure: Callable[[ScoredPrompt], Value]) -> Metric:
        description = (measure.__doc__ or "").strip().split("\n")[0]
        if better not in ("higher", "lower", "none"):
            raise RequestError(f"metric {name}: better is {better!r}; use 'higher', 'lower' or 'none'")
        if prompts not in ("hard", "soft", "any"):
            raise RequestError(f"metric {name}: prompts is {prompts!r}; use 'hard', 'soft' or 'any'")
        if not description:
            raise RequestError(f"metric {name} has no description; give the function a docstring of one line")
        return Metric(name, measure, unit, better, prompts, description, group, controls)

    return declare


def values(metrics: Iterable[Metric], scored: ScoredPrompt) -> dict[str, Value]:
    """The value of each metric by its name."""
    return {each.name: each(scored) for each in metrics}


def all_metrics() -> dict[str, Metric]:
    """Every installed metric by name, those of this package first.

    Raises:
        RequestError: two plug-ins offer the same name.
    """
    return plugins_by_name("hardprompt.metrics", "METRICS", "metric")


def load_metric(name: str) -> Metric:
    """A metric by name, or from a Python file as `path.py:attribute`; the file is run.

    Raises:
        UnknownName: there is no such metric; the message has the closest name.
        RequestError: the file or the attribute is missing, or is not a metric.
    """
    return load_plugin(name, all_metrics, Metric, "metric")
