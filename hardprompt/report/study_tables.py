"""The tables of a study: results, prompts, comparisons and cost; `hardprompt.report.tables` writes them."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from hardprompt.data.task import data_warnings
from hardprompt.escaping import printable
from hardprompt.metrics.copying import copying_lines
from hardprompt.metrics.faithfulness import FAITHFULNESS, IN_RECORDS
from hardprompt.records.schema import AnyRun, EmittedRecord, RunRecord, at_weights, heading, one_per_run
from hardprompt.report.tables import Column, TableData
from hardprompt.report.tradeoff import differs_in_place, test_examples

GAPS = tuple(
    (each.name, f"{each.name.replace('_', ' ')}, {each.unit}")
    for each in sorted(FAITHFULNESS, key=lambda each: IN_RECORDS.index(each.name))
)
"""The faithfulness metrics of a soft prompt, with the headings of their columns."""


def field_column(name: str, model: type[BaseModel] = RunRecord) -> Column:
    """The column of a field of a record."""
    text, digits = heading(name, model)
    return Column(text, digits=digits)


NO_TEXT: dict[str, Any] = {
    **dict.fromkeys(("text", "verdict", "score", "kl", "agreement", "deployed_accuracy", "log_perplexity", "reader")),
    "kl_interval": (None, None),
}
"""The row of a prompt without a text."""

OPTIMIZER = Column("optimizer", "name")
WEIGHT = field_column("weight")
OF_RUN = (OPTIMIZER, WEIGHT, Column("split", "text"), field_column("seed"))


def results_sheet(points: Sequence[AnyRun]) -> TableData:
    """Means over splits and seeds: a row per optimizer and weight, in the order of the runs."""
    rows: list[tuple[Any, ...]] = []
    for name, weight in dict.fromkeys((p.optimizer, p.weight) for p in points):
        group = [p for p in points if (p.optimizer, p.weight) == (name, weight)]
        done = [p for p in group if p.status == "ok"]
        if not done:
            error = next(p.error for p in group if p.status == "failed")
            rows.append((name, weight, f"0/{len(group)}", *[None] * 6, f"failed: {error}"))
            continue
        rows.append(
            (
                name,
                weight,
                str(len(done)) if len(done) == len(group) else f"{len(done)}/{len(group)}",
                _mean(p.test_accuracy for p in done),
                _mean(p.deployed_test_accuracy for p in done),
                _mean(p.emitted.mean_test_accuracy for p in done),
                _mean(p.log_perplexity for p in done),
                _mean((p.lm_tokens_forward + p.lm_tokens_backward) / 1000 for p in done),
                _mean(p.seconds for p in done),
                best_text(done).prompt_text,
            )
        )
    task, lm = (points[0].task, points[0].lm) if points else ("", "")
    columns = (
        OPTIMIZER, WEIGHT, Column("runs"), field_column("test_accuracy"), field_column("deployed_test_accuracy"),
        field_column("mean_test_accuracy", EmittedRecord),
        field_column("log_perplexity"), Column("LM ktokens", digits=0), Column("seconds", digits=1),
        Column("best text on dev", "text"),
    )  # fmt: skip
    of_first = next((f" All values are those of {next(iter(p.by_lm))}." for p in points if p.status == "ok" and p.by_lm), "")
    caption = f"Means over splits and seeds. {accuracies_on(points)}{of_first}"
    n = test_examples(points)
    return TableData("results", f"{task} on {lm}{n and f', {n} test examples'}", caption, columns, rows)


def accuracies_on(points: Sequence[AnyRun]) -> str:
    """The sentence of a caption that says on how many test examples accuracies were measured."""
    n = test_examples(points)
    return f"Accuracies are fractions of the test examples{n and f', {n}'}."


def best_text(done: Sequence[RunRecord]) -> RunRecord:
    """The run whose text has the highest accuracy on dev, the first of equal ones."""
    return max(done, key=lambda p: p.deployed_dev_accuracy)


def best_runs(points: Sequence[AnyRun]) -> list[RunRecord]:
    """For each optimizer and weight the run whose text has the highest accuracy on dev, without the empty prompt."""
    done = [p for p in points if p.status == "ok" and p.log_perplexity is not None]
    groups = dict.fromkeys((p.optimizer, p.weight) for p in done)
    return [best_text([p for p in done if (p.optimizer, p.weight) == group]) for group in groups]


def prompts_sheet(points: Sequence[AnyRun]) -> TableData:
    """The best prompts, with their readability for each reader."""
    best = best_runs(points)
    readers = list(dict.fromkeys(reader for p in best for reader in p.readers))
    units = ("log_perplexity", "nats per token"), ("nats_per_character", "nats per character")
    readable = _readable(points)
    copies = ["; ".join(copying_lines(p.copying)) for p in best]
    rows = [
        (
            *_run(p),
            p.test_accuracy,
            p.deployed_test_accuracy,
            p.emitted.mean_test_accuracy,
            *[getattr(p, key) for key in readable],
            *[getattr(p.readers.get(reader), key, None) for reader in readers for key, _ in units],
            "yes" if p.roundtrip_ok else "no",
            *([copied] if any(copies) else ()),
            p.prompt_text,
        )
        for p, copied in zip(best, copies, strict=True)
    ]
    columns = (
        *OF_RUN, field_column("test_accuracy"), field_column("deployed_test_accuracy"),
        field_column("mean_test_accuracy", EmittedRecord), *map(field_column, readable),
        *[Column(f"{reader}: {unit}", digits=2) for reader in readers for _, unit in units],
        field_column("roundtrip_ok"), *([Column("copies", "text")] if any(copies) else ()), Column("text", "text"),
    )  # fmt: skip
    caption = f"For each optimizer and weight the prompt whose text has the highest accuracy on dev. {accuracies_on(points)}"
    return TableData("best-prompts", "the best prompts", caption, columns, rows)


def models_sheet(points: Sequence[AnyRun]) -> TableData:
    """Means over splits and seeds for each of the models that one prompt was searched for."""
    done = [p for p in points if p.status == "ok" and p.by_lm]
    lms = list(dict.fromkeys(lm for p in done for lm in p.by_lm))
    measured = ("test_accuracy", "deployed_test_accuracy", "test_loss")
    rows = []
    for name, weight in dict.fromkeys((p.optimizer, p.weight) for p in done):
        group = [p for p in done if (p.optimizer, p.weight) == (name, weight)]
        rows += [
            (name, weight, len(group), lm, *[_mean(getattr(p.by_lm[lm], key) for p in group) for key in measured]) for lm in lms
        ]
    columns = (
        OPTIMIZER, WEIGHT, Column("runs", digits=0), Column("model", "text"), field_column("test_accuracy"),
        field_column("deployed_test_accuracy"), Column("test loss"),
    )  # fmt: skip
    caption = (
        "The same prompts under each of the models that they were searched for; means over splits and seeds, losses in "
        f"nats per example. {accuracies_on(points)}"
    )
    return TableData("models", "model by model", caption, columns, rows)


def tokens_sheet(points: Sequence[AnyRun]) -> TableData:
    """The best prompts token by token."""
    rows = [
        (
            *_run(p),
            position,
            row.token,
            row.surprisal,
            row.loss_added,
            -row.accuracy_lost,
            "*" if row.marked else "",
        )
        for p in best_runs(points)
        for position, row in enumerate(p.tokens, 1)
    ]
    columns = (
        *OF_RUN, Column("position", digits=0), Column("token", "text"), Column("nats", digits=2),
        Column("loss", digits=2, signed=True), Column("acc.", digits=2), Column("marked"),
    )  # fmt: skip
    caption = (
        "Surprisal, and the change of loss and accuracy on dev when the token is removed; * another measure, or a "
        "little noise, gives another token here."
    )
    return TableData("tokens", "token by token", caption, columns, rows)


def faithfulness_sheet(points: Sequence[AnyRun]) -> TableData:
    """A row per soft prompt."""
    soft = [p for p in points if p.status == "ok" and "reason" not in p.faithfulness]
    rows = [(*_run(p), *[p.faithfulness.get(key) for key, _ in GAPS]) for p in soft]
    caption = (
        "The vectors of each soft prompt compared with its text, the projection. For hard prompts all values are zero by "
        "construction."
    )
    return TableData("faithfulness", "faithfulness", caption, (*OF_RUN, *[Column(text) for _, text in GAPS]), rows)


def readings_sheet(readings: Sequence[dict[str, Any]]) -> TableData:
    """A row per text that a prompt was read as, with the evidence (`hardprompt read`)."""
    rows = [
        (
            *(found[name] for name in ("optimizer", "weight", "split", "seed")),
            row["text"],
            row["verdict"] or found["verdict"],
            row["score"],
            None if row["kl"] is None else (row["kl"], *row["kl_interval"]),
            row["agreement"],
            row["deployed_accuracy"],
            row["log_perplexity"],
            row["reader"],
        )
        for found in readings
        for row in found["readings"] or [NO_TEXT]
    ]
    columns = (
        *OF_RUN, Column("text", "text"), Column("verdict", "name"), Column("score"), Column("KL", "interval"),
        Column("agreement"), Column("accuracy"), Column("nats per token", digits=2),
        Column("reader", "name"),
    )  # fmt: skip
    caption = (
        "Texts that do what the prompt does, or not: the KL divergence of the answers under the prompt from those under the "
        "text, in nats per answer with 95 % intervals, on inputs that the search did not see. A score of 1 means the same "
        "answers, and 0 or less that unrelated texts are as close."
    )
    return TableData("readings", "what prompts are read as", caption, columns, rows)


def differences_sheet(found: dict[str, Any]) -> TableData:
    """The test accuracy of each optimizer minus that of the baselines."""
    rows = [
        (
            row["optimizer"],
            row["weight"],
            _interval(row["empty"]),
            _interval(row["manual"]),
            (row["empty"] or row["manual"])["n"],
        )
        for row in found.get("differences", ())
    ]
    gains = (Column(name, "interval", signed=True) for name in ("empty", "manual"))
    caption = (
        "Test accuracy minus that of the empty prompt and of the best manual one, on the same examples: means over these runs "
        "with 95 % bootstrap intervals over examples. The results of other seeds may differ."
    )
    title = "test accuracy of these runs minus a baseline's, 95 % interval over examples"
    return TableData("baselines", title, caption, (OPTIMIZER, WEIGHT, *gains, Column("examples", digits=0)), rows)


def coverage_sheet(found: dict[str, Any], points: Sequence[AnyRun], brief: bool = False) -> TableData:
    """The measures of each optimizer's front, and its distance from the known front of the task.

    Args:
        found: the result of `frontier`, also that of an older version, which lacks some measures.
        points: the runs.
        brief: without the gap and the noisy R2, so that the table fits on a terminal.
    """
    columns = [("hypervolume", "hypervolume"), ("pessimistic_hypervolume", "pessimistic")]
    if not brief:
        columns += [("hypervolume_gap", "gap"), ("noisy_r2", "noisy R2")]
    if found["known"]:
        columns.append(("regret", "regret"))
    if found["known"] and len(found["known"]["front"]) > 1:
        columns.append(("share_of_known_hypervolume", "share of the known hypervolume"))
    rows = [
        (name, *[_interval(summary.get(key)) for key, _ in columns], summary["hypervolume"]["n"])
        for name, summary in found["optimizers"].items()
    ]
    headings = (OPTIMIZER, *[Column(text, "interval") for _, text in columns], Column("runs", digits=0))
    n = test_examples(points)
    caption = f"Means over splits and seeds with 95 % bootstrap intervals over them{n and f', {n} test examples'}."
    return TableData("coverage", f"hypervolume of each optimizer{n and f', {n}'}", caption, headings, rows)


def known_sheet(found: dict[str, Any]) -> TableData:
    """The known front."""
    known = (found["known"] or {"front": []})["front"]
    rows = [(p["prompt"], p["test_accuracy"], p["log_perplexity"]) for p in known]
    caption = f"Known {'front' if len(known) > 1 else 'optimum'} of the task on this model."
    columns = (Column("prompt", "text"), field_column("test_accuracy"), field_column("log_perplexity"))
    return TableData("known", "the known front", caption, columns, rows)


def failed_sheet(points: Sequence[AnyRun]) -> TableData:
    """Failed runs with their errors."""
    rows = [(*_run(p), p.error) for p in points if p.status != "ok"]
    caption = "The option --retry-failed repeats them."
    return TableData("failed", "failed runs", caption, (*OF_RUN, Column("error", "text")), rows)


def cost_sheet(points: Sequence[AnyRun]) -> TableData:
    """The total cost of the runs of each optimizer, and of all runs."""
    done = [p for p in points if p.status == "ok"]
    keys = ("prompts_visited", "lm_tokens_forward", "lm_tokens_backward", "seconds")
    groups = {name: [p for p in done if p.optimizer == name] for name in dict.fromkeys(p.optimizer for p in done)}
    rows = [
        (name, len(own), *[sum(getattr(p, key) for p in own) for key in keys]) for name, own in [*groups.items(), ("all", done)]
    ]
    caption = "Logical LM tokens: prompt and example tokens of every scored pair."
    if len(done) < len(points):
        caption += " Failed runs are not counted."
    columns = (OPTIMIZER, Column("runs", digits=0), *map(field_column, keys))
    return TableData("cost", "cost of the runs", caption, columns, rows if done else [], totals=1)


def runs_sheet(points: Sequence[AnyRun]) -> TableData:
    """Every run."""
    measured = ("test_accuracy", "deployed_test_accuracy", *_readable(points))
    rows = [
        (*_run(p), *[getattr(p, key, None) for key in measured], p.prompt_text if p.status == "ok" else "failed")
        for p in points
    ]
    columns = (*OF_RUN, *map(field_column, measured), Column("text", "text"))
    return TableData("runs", "every run", f"In the order in which they ran. {accuracies_on(points)}", columns, rows)


def study_sheets(points: Sequence[AnyRun], found: dict[str, Any], weights: Sequence[float]) -> dict[str, TableData]:
    """Every table of a study, by name; of the members of fronts, those that are best at the given weights are compared."""
    compared, runs = at_weights(points, weights), one_per_run(points)
    every = (
        results_sheet(compared), models_sheet(compared), prompts_sheet(compared), tokens_sheet(compared),
        faithfulness_sheet(points),
        differences_sheet(found), coverage_sheet(found, points), known_sheet(found), failed_sheet(runs), cost_sheet(runs),
        runs_sheet(points),
    )  # fmt: skip
    return {sheet.name: sheet for sheet in every}


def data_lines(points: Sequence[AnyRun]) -> list[str]:
    """The warnings about the data of each split, as `hardprompt.data.task.data_warnings` gives them."""
    of_split = {p.split: p for p in points if p.status == "ok"}
    return [
        printable(f"split {split}: {line}" if len(of_split) > 1 else line)
        for split, p in of_split.items()
        for line in data_warnings(p.overlap, p.rows_skipped)
    ]


def failed_lines(points: Sequence[AnyRun]) -> list[str]:
    """A line for each failed run."""
    return [
        printable(f"failed: {p.optimizer} w={p.weight:g} split {p.split} seed {p.seed}: {p.error}")
        for p in points
        if p.status != "ok"
    ]


def _readable(points: Sequence[AnyRun]) -> tuple[str, ...]:
    """The measures of readability with a column.

    The log-perplexity in place has one only if it differs from that at the beginning of a document, and the number of tokens
    only with a length weight.
    """
    in_place = ("log_perplexity_in_place",) if differs_in_place(points) else ()
    weighed = any(p.status == "ok" and p.length_weight for p in points)
    return ("log_perplexity", *in_place, *(("prompt_tokens",) if weighed else ()))


def _run(point: AnyRun) -> tuple[Any, ...]:
    return point.optimizer, point.weight, point.split, point.seed


def _interval(value: dict[str, float] | None) -> tuple[float, float, float] | None:
    return (value["mean"], value["low"], value["high"]) if value else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
