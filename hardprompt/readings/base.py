"""What all readers share: their declaration, the decorator `reader`, and the registry.

A reader is a function `(problem, config) -> texts` that reads a prompt: it finds texts, as token ids, whose answers are close
to those under the prompt. It passes candidates to `problem.score_on_dev`, which keeps them with their KL divergence and NLL.
Any optimizer of hard prompts is a reader too, since a `ReadingProblem` is a problem whose task loss is the KL divergence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hardprompt.errors import RequestError, UnknownName
from hardprompt.optimizers.base import Config, FinalPrompts, all_optimizers, configured
from hardprompt.plugins import is_file_reference, load_plugin, plugins_by_name
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.readings.problem import ReadingProblem

C = TypeVar("C", bound=Config)


def _accept(problem: ReadingProblem, config: Any) -> None:
    """The check of a reader that reads every prompt of every model."""


def needs_vectors(problem: ReadingProblem, config: Any) -> None:
    """Raise RequestError if the target is a hard prompt, which has no vectors of its own."""
    if not isinstance(problem.target, SoftPrompt):
        raise RequestError("the prompt is a text and has no vectors to read; use a reader that reads its answers")


@dataclass(frozen=True)
class Reader(Generic[C]):
    """A method of reading a prompt as text.

    Attributes:
        name: the name in commands and records.
        search: the method. It returns token ids of texts, and can score others on dev on the way.
        config: the class of its options.
        check: raises a RequestError if the method cannot read this prompt with this model. It is called first.
        summary: one line.
    """

    name: str
    search: Callable[[ReadingProblem, C], FinalPrompts]
    config: type[C]
    check: Callable[[ReadingProblem, C], None]
    summary: str


def reader(
    name: str, config: type[C], check: Callable[[ReadingProblem, C], None] = _accept
) -> Callable[[Callable[[ReadingProblem, C], FinalPrompts]], Reader[C]]:
    """Decorator that makes a `Reader` of a function; the first line of its docstring is the summary.

    Args:
        name, config, check: the attributes of the `Reader`.

    Example:
        >>> @reader("first-tokens", Config)
        ... def first_tokens(problem, config):
        ...     '''The first tokens of the vocabulary.'''
        ...     return [problem.allowed[: problem.prompt_length].tolist()]
        >>> first_tokens.summary
        'The first tokens of the vocabulary.'
    """
    return lambda search: Reader(name, search, config, check, (search.__doc__ or "").strip().split("\n")[0])


def run_reader(method: Reader[Any], problem: ReadingProblem, options: Mapping[str, Any] = {}) -> None:
    """Read a prompt by one method; all texts that it scored or returned are then among `problem.candidates`.

    Args:
        method: the reader.
        problem: the problem.
        options: its options, by name.

    Raises:
        UnknownName: there is no option of a name.
        RequestError: the method cannot read this prompt with this model, or the value of an option cannot be used.
    """
    config = configured(method.config, method.name, options)
    method.check(problem, config)
    found = method.search(problem, config)
    if isinstance(found, SoftPrompt):
        raise RequestError(f"{method.name} finds a soft prompt and no text; use another reader")
    known = {candidate.prompt.ids for candidate in problem.candidates if not isinstance(candidate.prompt, SoftPrompt)}
    texts = dict.fromkeys(each.ids if isinstance(each, HardPrompt) else tuple(each) for each in found)
    if new := [ids for ids in texts if ids and ids not in known]:
        problem.score_on_dev(new)


def all_readers() -> dict[str, Reader[Any]]:
    """All installed readers by name, those of this package first.

    Raises:
        RequestError: two plug-ins offer the same name.
    """
    return plugins_by_name("hardprompt.readers", "READERS", "reader")


def load_reader(name: str) -> Reader[Any]:
    """A reader by name, or from a Python file as `path.py:attribute`. The name of an optimizer of hard prompts is one as well.

    Raises:
        UnknownName: there is no reader and no optimizer of this name; the message has the closest name.
        RequestError: the file or the attribute is missing, or is not a reader.

    Example:
        >>> load_reader("race").summary
        'Samples of the model itself, raced by successive halving for all fluency weights at once.'
    """
    readers, optimizers = all_readers(), all_optimizers()
    if name in optimizers and name not in readers:
        found = optimizers[name]
        return Reader(found.name, found.search, found.config, found.check, found.summary)
    if name not in readers and not is_file_reference(name):
        raise UnknownName("reader", name, [*readers, *optimizers], " (or path.py:name)")
    return load_plugin(name, all_readers, Reader, "reader")
