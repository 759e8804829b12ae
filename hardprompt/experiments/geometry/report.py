"""The output of `hardprompt geometry`: tables as CSV files, figures, a page, and tables on the terminal."""

import json
import shlex
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from rich.text import Text

from hardprompt.experiments.geometry.analysis import PromptVectors
from hardprompt.experiments.geometry.record import GeometryRecord
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.metrics.geometry import distances
from hardprompt.metrics.token_kinds import KINDS
from hardprompt.records.atomic import replacing
from hardprompt.report.page import page_template
from hardprompt.report.tables import write_csv

Found = dict[str, Any]

PALETTE = (
    ("#0072b2", "#4db3ec"),
    ("#d55e00", "#ff9a4d"),
    ("#009e73", "#3fd6a9"),
    ("#cc79a7", "#eba4c9"),
    ("#8a6d00", "#e3c341"),
    ("#56b4e9", "#8fd0f5"),
    ("#6a3d9a", "#b48be0"),
    ("#8c564b", "#cf9b8f"),
    ("#444444", "#c4c4c4"),
    ("#b3123a", "#ff7d98"),
    ("#4d7c0f", "#a6d65c"),
    ("#0f766e", "#5eead4"),
)
"""Colors on a light and on a dark background; they repeat after the twelfth label."""

SIDE = 420
"""Side length of a scatter plot on the page, in SVG user units."""

_STYLE: Any = {"svg.hashsalt": "hardprompt", "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Spot:
    """A vector in a t-SNE plot.

    Attributes:
        x, y: the coordinates from t-SNE; their unit has no meaning.
        kind: "soft", "word" (the token of an initial word) or "added".
        task, word, position: the task, initial word and position of a soft vector; None if it has none.
    """

    x: float
    y: float
    kind: str
    task: str | None
    word: str | None
    position: int | None


def spots(places: PromptVectors, tokens: dict[str, int], added: Sequence[Any] = (), seed: int = 0) -> list[Spot]:
    """Two-dimensional places of the soft vectors, of the tokens of the initial words, and of vectors trained elsewhere.

    The places are the t-SNE of the cosine distances by scikit-learn. The perplexity is 30, or a third of the number of vectors
    if that is less.

    Args:
        places: the soft vectors.
        tokens: the token of each initial word.
        added: prompts trained elsewhere.
        seed: the seed of the initial places.
    """
    from sklearn.manifold import TSNE

    named: list[tuple[str, str | None, str | None, int | None]] = []
    for number in range(len(places.vectors)):
        prompt = places.prompts[number // places.length]
        named.append(("soft", prompt.task, prompt.word, number % places.length + 1))
    rows = [places.vectors.float()]
    if tokens:
        rows.append(places.vocab[list(tokens.values())])
        named += [("word", None, word, None) for word in tokens]
    for prompt in added:
        rows.append(prompt.embeds.to(rows[0]))
        named += [("added", prompt.task, prompt.word, number + 1) for number in range(len(prompt.embeds))]
    together = torch.cat(rows)
    if len(together) < 4:
        return []
    between = distances(together, together).cpu().numpy()
    between = (between + between.T) / 2
    np.fill_diagonal(between, 0)
    tsne = TSNE(
        metric="precomputed",
        init="random",
        random_state=seed % 2**32,
        perplexity=min(30, (len(together) - 1) / 3),
        method="exact" if len(together) <= 1000 else "barnes_hut",
    )
    found = tsne.fit_transform(between)
    return [Spot(float(x), float(y), *name) for (x, y), name in zip(found, named, strict=True)]


def write_geometry(record: GeometryRecord, found: Found, drawn: Sequence[Spot]) -> None:
    """Write `geometry.json`, the tables, the figures as PNG and SVG, and `report.html` into the study's folder."""
    folder, lines = record.folder, record.lines()
    with replacing(folder / "geometry.json") as aside:
        everything = {"request": record.request.model_dump(mode="json"), "prompts": lines} | found
        aside.write_text(json.dumps(everything, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    for name, header, rows in sheets(lines, found, drawn):
        write_csv(folder / f"{name}.csv", header, rows)
    for ending in ("png", "svg"):
        if drawn:
            for label in ("task", "word"):
                with replacing(folder / f"tsne-{label}.{ending}") as aside:
                    draw_spots(drawn, label, f"{found['lm']}: soft vectors by {LABELS[label]}", aside)
        with replacing(folder / f"distances.{ending}") as aside:
            draw_distances(found, aside)
    with replacing(folder / "report.html") as aside:
        aside.write_text(geometry_page(record, lines, found, drawn), encoding="utf-8", newline="\n")


LABELS = {"task": "task", "word": "initial word"}

SCORES = ("test_accuracy", "test_loss", "initial_test_accuracy", "initial_test_loss", "dev_accuracy", "dev_loss", "moved")

TableData = tuple[str, Sequence[str], list[Sequence[object]]]


def sheets(lines: Sequence[Found], found: Found, drawn: Sequence[Spot]) -> Iterator[TableData]:
    """Name, header and rows of every table."""
    done = [line for line in lines if line["status"] == "ok"]
    yield (
        "prompts",
        ("task", "word", *SCORES, "steps", "seconds"),
        [[line[key] for key in ("task", "word", *SCORES, "steps", "seconds")] for line in done],
    )
    yield "distances", ("measure", "group", "label", "mean", "with_self_pairs"), list(_distance_rows(found))
    columns = ("epsilon", "self_pairs", "of", "neighbours", "vocabulary", "soft", "same_word", "same_task", "same_position")
    yield "neighbourhoods", columns, [[row[name] for name in columns] for row in found["neighbourhoods"]]
    yield (
        "nearest",
        ("task", "word", "position", "rank", "id", "token", "distance", "kind"),
        [
            (row["task"], row["word"], row["position"], rank, near["id"], near["token"], near["distance"], near["kind"])
            for row in found["nearest"]
            for rank, near in enumerate(row["tokens"], 1)
        ],
    )
    if found["correlations"]:
        yield (
            "correlations",
            ("measure", "sequence", "word", "other word", "pearson"),
            [
                (measure, name, found["words"][i], found["words"][j], value)
                for measure, tables in found["correlations"].items()
                for name, table in tables.items()
                for i, row in enumerate(table["table"])
                for j, value in enumerate(row)
                if i < j
            ],
        )
    yield "findings", FINDING, [[row[name] for name in FINDING] for row in found["findings"]]
    yield (
        "tsne",
        ("x", "y", "kind", "task", "word", "position"),
        [(s.x, s.y, s.kind, s.task, s.word, s.position) for s in drawn],
    )


FINDING = ("name", "verdict", "value", "low", "high", "published", "statement", "measure")


def _distance_rows(found: Found) -> Iterator[Sequence[object]]:
    for measure, own in found["distances"].items():
        for name, group in own["groups"].items():
            yield measure, "pairs", name, group["mean"], group["with_self_pairs"]
        for name in ("random_tokens", "to_random_tokens"):
            yield measure, "pairs", name.replace("_", " "), own[name], None
        for name in ("by_word", "by_task", "by_position"):
            for row in own[name]:
                yield measure, name.replace("_", " "), row["label"], row["mean"], row["with_self_pairs"]


def draw_spots(drawn: Sequence[Spot], label: str, title: str, file: Path) -> None:
    """Draw the vectors coloured by "task" or "word" to a .png or .svg file; stars are the tokens of the initial words."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.6, 6.0), layout="constrained")
        axes = figure.add_subplot()
        for number, name in enumerate(_labels(drawn, label)):
            own = [spot for spot in drawn if spot.kind == "soft" and getattr(spot, label) == name]
            color = PALETTE[number % len(PALETTE)][0]
            axes.scatter(
                [s.x for s in own], [s.y for s in own], s=22, color=color, linewidths=0, alpha=0.85, label=_plain(name)
            )
        for kind, marker, size in (("word", "*", 60), ("added", "X", 40)):
            own = [spot for spot in drawn if spot.kind == kind]
            if own:
                of = "token of an initial word" if kind == "word" else "trained elsewhere"
                axes.scatter([s.x for s in own], [s.y for s in own], s=size, color="#111111", marker=marker, zorder=3, label=of)
            for spot in own if kind == "word" else ():
                axes.annotate(
                    _plain(str(spot.word)), (spot.x, spot.y), (5, 4), textcoords="offset points", fontsize=8, parse_math=False
                )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(_plain(title), loc="left", parse_math=False)
        legend = figure.legend(loc="outside right upper", frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
        _save(figure, file)


def draw_distances(found: Found, file: Path) -> None:
    """Draw the mean cosine distance of every group of pairs to a .png or .svg file; lines are those of random tokens."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    own = found["distances"]["cosine"]
    groups = {name: group["mean"] for name, group in own["groups"].items() if group["mean"] is not None}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(list(groups), list(groups.values()), color=PALETTE[0][0], height=0.62)
        for place, value in enumerate(groups.values()):
            axes.text(value + 0.01, place, f"{value:.3f}", va="center", fontsize=8.5)
        for name, style in (("random_tokens", "--"), ("to_random_tokens", ":")):
            if own[name] is not None:
                between = "between random tokens" if name == "random_tokens" else "soft vectors to random tokens"
                axes.axvline(own[name], color="#222222", linestyle=style, linewidth=1, label=f"{between} ({own[name]:.3f})")
        axes.invert_yaxis()
        axes.set_xlim(0, max([1.05, *groups.values()]))
        axes.set_xlabel("mean cosine distance of soft vectors that share this")
        axes.set_title(
            _plain(f"{found['lm']}: {len(found['tasks'])} tasks, {len(found['words'])} initial words"),
            loc="left",
            parse_math=False,
        )
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a character that the font lacks is drawn as a box
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _labels(drawn: Sequence[Spot], label: str) -> list[str]:
    return list(dict.fromkeys(getattr(spot, label) for spot in drawn if spot.kind == "soft"))


def _plain(text: str) -> str:
    """A text as it can be drawn; a label that begins with an underscore would be left out of a legend."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return f" {shown}" if shown.startswith("_") else shown


# The page


def geometry_page(record: GeometryRecord, lines: Sequence[Found], found: Found, drawn: Sequence[Spot]) -> str:
    """The page as HTML: one file without scripts, which loads no other files; tokens and names are escaped."""
    done = {(line["task"], line["word"]): line for line in lines if line["status"] == "ok"}
    return page_template("geometry.html").render(
        found=found,
        done=done,
        lines=list(done.values()),
        failed=[line for line in lines if line["status"] != "ok"],
        request=_request(record.request),
        palette=PALETTE,
        side=SIDE,
        plots=[(name, LABELS[name], _labels(drawn, name), _on_page(drawn, name)) for name in LABELS] if drawn else [],
        kinds=KINDS,
        nearest=_by_prompt(found["nearest"]),
        repeat=geometry_command(record.request),
        versions=record.study.get("versions", {}),
        data=record.study.get("data", {}),
    )


def _on_page(drawn: Sequence[Spot], label: str) -> list[tuple[float, float, str, int, str]]:
    """The x, y, kind, number of the color, and tooltip of every spot."""
    names = _labels(drawn, label)
    xs, ys = [s.x for s in drawn], [s.y for s in drawn]
    scale = (SIDE - 24) / max(max(xs) - min(xs), max(ys) - min(ys), 1e-9)
    placed = []
    for s in drawn:
        tooltip = f"token {s.word!r}" if s.kind == "word" else f"{s.task}, {s.word}, position {s.position}"
        number = names.index(getattr(s, label)) % len(PALETTE) if s.kind == "soft" else 0
        x, y = 12 + (s.x - min(xs)) * scale, SIDE - 12 - (s.y - min(ys)) * scale
        placed.append((round(x, 1), round(y, 1), s.kind, number, tooltip))
    return placed


def _by_prompt(nearest: Sequence[Found]) -> list[tuple[str, str, list[list[Found]]]]:
    """Task, word, and the closest tokens at each position."""
    prompts: dict[tuple[str, str], list[list[Found]]] = {}
    for row in nearest:
        prompts.setdefault((row["task"], row["word"]), []).append(row["tokens"])
    return [(task, word, tokens) for (task, word), tokens in prompts.items()]


def _request(request: GeometryRequest) -> list[tuple[str, str]]:
    rate = "a tenth of the spread of the vocabulary" if request.learning_rate is None else f"{request.learning_rate:g}"
    fields = [
        ("tasks", ", ".join(request.tasks)),
        ("initial words", ", ".join(request.words)),
        ("model", request.lm),
        ("start", request.start or ""),
        ("vectors of a prompt", str(request.tokens)),
        ("epochs", str(request.epochs)),
        ("batch", f"{request.batch_size} examples"),
        ("learning rate", f"{rate}, decreasing linearly to zero"),
        ("weight decay", f"{request.weight_decay:g}"),
        ("seed", str(request.seed)),
        ("data split", request.split),
        ("data", request.data or ""),
        ("examples per label", str(request.shots or "")),
        ("largest number of test examples", str(request.limit or "")),
        ("precision", request.dtype),
    ]
    return [(name, value) for name, value in fields if value]


def geometry_command(request: GeometryRequest) -> list[str]:
    r"""The lines of a command that runs a study with this request.

    Example:
        >>> geometry_command(GeometryRequest.make(tasks=("plural",), words=("cat", "dog")))[:4]
        ['hardprompt geometry \\', '    --task plural \\', '    --word cat \\', '    --word dog \\']
    """
    defaults = GeometryRequest()
    given: list[tuple[str, Any]] = [("--task", name) for name in request.tasks]
    given += [("--word", word) for word in request.words]
    given += [("--lm", request.lm)]
    names = (
        "start",
        "tokens",
        "epochs",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "seed",
        "split",
        "data",
        "shots",
        "limit",
        "device",
    )
    for name in (*names, "dtype", "memory"):
        if getattr(request, name) != getattr(defaults, name):
            given.append((f"--{name.replace('_', '-')}", getattr(request, name)))
    given += [("--out", "again")]
    words = [f"{name} {shlex.quote(str(value))}" for name, value in given]
    return ["hardprompt geometry \\", *(f"    {word} \\" for word in words[:-1]), f"    {words[-1]}"]


# The terminal


def findings_table(found: Found) -> Table:
    """A row per finding: its verdict, its value with the interval, and the published value."""
    table = Table(title=f"findings on {found['lm']}, 95 % intervals over tasks and words", title_justify="left", pad_edge=False)
    for heading in ("finding", "verdict", "value", "interval", "published"):
        table.add_column(heading, justify="right" if heading in ("value", "published") else "left")
    for row in found["findings"]:
        interval = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        numbers = ["-" if row[name] is None else f"{row[name]:.3f}" for name in ("value", "published")]
        table.add_row(Text(row["statement"]), row["verdict"], numbers[0], interval, numbers[1])
    return table


def accuracy_table(lines: Sequence[Found]) -> Table:
    """A row per task: mean test accuracy and loss over the words, and those of the untrained prompts."""
    table = Table(title="test, means over initial words", title_justify="left", pad_edge=False)
    for heading in ("task", "prompts", "accuracy", "loss", "untrained accuracy", "untrained loss"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    done = [line for line in lines if line["status"] == "ok"]
    for task in dict.fromkeys(line["task"] for line in lines):
        own = [line for line in done if line["task"] == task]
        count = sum(line["task"] == task for line in lines)
        names = ("test_accuracy", "test_loss", "initial_test_accuracy", "initial_test_loss")
        means = [f"{sum(line[name] for line in own) / len(own):.3f}" if own else "-" for name in names]
        table.add_row(Text(task), str(len(own)) if len(own) == count else f"{len(own)}/{count}", *means)
    return table


class PromptLines:
    """A listener that prints a line per finished prompt."""

    def __init__(self, console: Any) -> None:
        self._console = console

    def planned(self, folder: Path, prompts: int, recorded: int) -> None:
        """Print the folder of the record and the number of prompts."""
        kept = f", {recorded} of them already recorded" if recorded else ""
        self._console.print(Text(f"{prompts} soft prompts in {folder}{kept}"))

    def finished(self, line: Found) -> None:
        """Print a line about a recorded prompt."""
        name = f"{line['task']}, {line['word']}"
        if line["status"] != "ok":
            self._console.print(Text(f"{name:<36} failed: {line['error']}", style="red"))
            return
        figures = f"test {line['test_accuracy']:.3f}  loss {line['test_loss']:.3f}  moved {line['moved']:.2f}"
        self._console.print(Text(f"{name:<36} {figures}  {line['seconds']:.1f} s"))
