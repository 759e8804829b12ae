"""The text that `hardprompt validate` prints."""

from collections.abc import Iterator

from hardprompt.custom_task.trivial_baselines import CONTENT_FREE
from hardprompt.custom_task.validate import CheckedTask


def checked_lines(checked: CheckedTask) -> Iterator[str]:
    """Yield the lines of the text: findings, examples with their tokens, and scores of trivial baselines."""
    yield from map(str, checked.findings)
    for number, shown in enumerate(checked.shown, 1):
        yield f"example {number}: {shown.text!r} then {shown.answer!r}"
        yield f"  tokens: {' | '.join(shown.tokens)}  then  {' | '.join(shown.answer_tokens)}"
    if checked.shown:
        prompt = f"the first reference prompt, {checked.prompt!r}" if checked.prompt else "empty (no reference prompt)"
        yield f"the prompt in these examples is {prompt}"
    if checked.scores:
        empty, majority, prior = (checked.scores[name] for name in ("empty", "majority", "model_prior"))
        yield f"on dev, the empty prompt: accuracy {empty['accuracy']:.3f}, loss {empty['loss']:.2f} nats per example"
        yield f"on dev, always {majority['answer']!r}, the most frequent answer of train: accuracy {majority['accuracy']:.3f}"
        if prior:
            shares = ", ".join(f"{label} {share:.2f}" for label, share in prior["probabilities"].items())
            always = f"always {prior['answer']!r}, the model's answer to the input {CONTENT_FREE!r} ({shares})"
            yield f"on dev, {always}: accuracy {prior['accuracy']:.3f}"
    warnings = len(checked.findings) - checked.errors
    yield f"{checked.task} on {checked.lm}: {checked.errors} errors, {warnings} warnings"
