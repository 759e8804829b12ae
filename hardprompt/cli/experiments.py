"""The verbs that repeat published experiments, wayward, geometry and reproduce, and the benchmark of readings."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hardprompt.cli import reading
from hardprompt.cli.help import EXPERIMENTS
from hardprompt.cli.options import TASK, TRAINING, Json, request_options
from hardprompt.cli.output import console, print_geometry, print_json, print_line, print_table, progress_display
from hardprompt.cli.verbs import verb
from hardprompt.errors import RequestError
from hardprompt.records.request import StudyRequest


@verb(
    EXPERIMENTS,
    "hardprompt wayward --target 'give the plural' --task plural",
    "hardprompt wayward --target 'write a poem' --gammas 0,0.1,1 --steps 300",
)
@request_options(
    *("task", "split", "data", "shots", "chat", "prompt_turn", "template", "label_words", "match", "reference_prompts"),
    *("lm", "readers", "start", "device", "dtype", "memory", "seed"),
)
def wayward(
    fields: dict[str, Any],
    target: Annotated[str, typer.Option(help="Text that the soft prompt projects to.")],
    preset: Annotated[str, typer.Option(help="default, or khashabi (the published schedule).")] = "default",
    gammas: Annotated[
        str | None,
        typer.Option(metavar="NUMBER,...", help="Weights of the distance to the target.", show_default="set by --preset"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps for each gamma.", show_default="set by --preset")] = None,
    as_json: Json = False,
) -> None:
    """Train a soft prompt that projects to a text of your choice.

    The prompt solves the task, although its text can be about something else (Khashabi et al. 2022).
    """
    from hardprompt.experiments.wayward.grid import wayward_grid
    from hardprompt.experiments.wayward.run import wayward as train
    from hardprompt.report.prompt_tables import wayward_table
    from hardprompt.study.loading import load_model, load_readers, load_tasks

    request = StudyRequest.make(**fields)
    chosen = {"gammas": reading.floats("--gammas", gammas), "steps": steps}
    config = wayward_grid(preset, **{name: value for name, value in chosen.items() if value is not None})
    readers = load_readers(request)
    if len(readers) > 1:
        raise RequestError(f"wayward takes one reader, got {len(readers)}; give --reader once")
    [task] = load_tasks(request).values()
    reader, [seed] = next(iter(readers), None), request.seeds
    found = train(task, load_model(request), target, reader=reader, config=config, seed=seed).described
    if as_json:
        print_json(found)
    else:
        print_table(wayward_table(found))


@verb(
    EXPERIMENTS,
    "hardprompt geometry",
    "hardprompt geometry --task plural --task capital --word cat --word dog",
    "hardprompt geometry --add my-adapter --out record",
)
@request_options("data", "shots", "limit", "lm", "start", "device", "dtype", "memory")
def geometry(
    fields: dict[str, Any],
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="NAME",
            rich_help_panel=TASK,
            help="A task, named as for compare. Can be repeated.",
            show_default="six tasks of the catalogue, as in the paper",
        ),
    ] = None,
    word: Annotated[
        list[str] | None,
        typer.Option(
            "--word",
            metavar="WORD",
            rich_help_panel=TASK,
            help="An initial word that is one token of the model. Can be repeated.",
            show_default="ten words, as in the paper",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Number of vectors of each soft prompt.", rich_help_panel=TRAINING)] = 4,
    epochs: Annotated[int, typer.Option(help="Training epochs.", rich_help_panel=TRAINING)] = 10,
    batch_size: Annotated[int, typer.Option(help="Examples per training step.", rich_help_panel=TRAINING)] = 8,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Initial learning rate.", rich_help_panel=TRAINING, show_default="that of the optimizer soft"),
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Weight decay of AdamW.", rich_help_panel=TRAINING)] = 0.01,
    seed: Annotated[int, typer.Option(help="Random seed.", rich_help_panel=TRAINING)] = 0,
    split: Annotated[str, typer.Option(help="Data split of the tasks.", rich_help_panel=TASK)] = "default",
    add: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="More soft prompts: a peft adapter, .npy, .npz or .safetensors. Can be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the record.", show_default="hardprompt-out/geometry-LM")] = None,
    as_json: Json = False,
) -> None:
    """Train soft prompts from initial words, and locate their vectors.

    One soft prompt is trained for each task and each initial word (Bakalova 2024).
    """
    from hardprompt.experiments.geometry.report import PromptLines
    from hardprompt.experiments.geometry.request import GeometryRequest
    from hardprompt.experiments.geometry.run import geometry as study

    request = GeometryRequest.make(
        tokens=tokens,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        split=split,
        **fields,
        **({"tasks": tuple(task)} if task else {}),
        **({"words": tuple(word)} if word else {}),
    )
    found = study(request, out, PromptLines(console(stderr=as_json)), add or ())
    print_geometry(found, as_json)
    if any(line["status"] != "ok" for line in found["prompts"]):
        raise typer.Exit(1)


@verb(
    EXPERIMENTS,
    "hardprompt reproduce wayward-f1",
    "hardprompt reproduce --data fewshot --models models --out reproduced",
    "hardprompt reproduce --recorded",
)
def reproduce(
    claim: Annotated[
        list[str] | None, typer.Argument(metavar="CLAIM", help="Names of claims, papers or models.", show_default="all claims")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the records, one for each recipe.")] = Path("hardprompt-out/reproduce"),
    data: Annotated[Path | None, typer.Option(help="Folder with real data, for the recipes that need it.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder with models, for the recipes that need them.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Number of runs at the same time.", show_default="as many as cores and memory allow")
    ] = None,
    recorded: Annotated[bool, typer.Option("--recorded", metavar="", help="Run nothing; use the recorded runs.")] = False,
    as_json: Json = False,
) -> None:
    """Measure published claims again, with an interval and a verdict.

    Studies without a record are run first.
    """
    from hardprompt.experiments.claims import claims
    from hardprompt.experiments.claims.records import Where, recipe_cost
    from hardprompt.experiments.claims.report import claims_table
    from hardprompt.experiments.claims.reproduce import reproduce as measure

    chosen, screen = claims(tuple(claim or ())), console(stderr=as_json)
    with progress_display(as_json) as display:
        where = Where(out, data, models, jobs, recorded)
        found = measure(
            chosen,
            where,
            display,
            lambda recipe: screen.print(f"recipe {recipe}{'' if recorded else f', {recipe_cost(recipe)}'}", markup=False),
        )
    if as_json:
        print_json([each.as_json() for each in found])
    else:
        print_table(claims_table(found))
        print_line(f"claims.json and claims.md are in {out}")


@verb(
    EXPERIMENTS,
    "hardprompt benchmark --readers samples,nearest --kinds planted,untrained --lm-tokens 20000",
    "hardprompt benchmark --lm smollm2 --data DIR --readers my_reader.py:mine",
)
def benchmark(
    lm: Annotated[str, typer.Option(help="Model whose prompts are read: microworld or smollm2.")] = "microworld",
    readers: Annotated[
        str, typer.Option(metavar="NAME,...", help="Readers to compare.")
    ] = "nearest, self-description, samples, wide-beam",
    kinds: Annotated[str, typer.Option(metavar="NAME,...", help="Kinds of prompts.", show_default="all")] = "",
    divisions: Annotated[
        str, typer.Option(metavar="NAME,...", help="tune (to choose options on) and report (to report).")
    ] = "report",
    data: Annotated[
        Path | None, typer.Option(help="Folder with the data of real tasks, as fewshot/sst-2 and relations.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Data type of the weights.")] = "float32",
    lm_tokens: Annotated[int, typer.Option(min=1, help="Budget of each reader for each prompt in LM tokens.")] = 60_000,
    out: Annotated[Path | None, typer.Option(help="Folder of the record.", show_default="hardprompt-out/benchmark-LM")] = None,
    as_json: Json = False,
) -> None:
    """Read soft prompts of known origin, and show how well readers do.

    Rerun the same command to resume.
    """
    from hardprompt.experiments.reading.evaluate import BenchmarkRequest, read_benchmark
    from hardprompt.experiments.reading.table import area_under_curve, readers_table, scores_of_given
    from hardprompt.report.prompt_tables import benchmark_table

    request = BenchmarkRequest(
        lm=lm,
        readers=reading.words("--readers", readers) or (),
        divisions=reading.words("--divisions", divisions) or (),
        kinds=(reading.words("--kinds", kinds) or ()) if kinds else (),
        data=None if data is None else str(data),
        dtype=dtype,
        lm_tokens=lm_tokens,
    )
    lines = read_benchmark(request, out or Path("hardprompt-out") / f"benchmark-{lm}")
    rows, area = readers_table(lines), area_under_curve(*scores_of_given(lines))
    if as_json:
        print_json({"rows": rows, "area_under_curve": area})
    else:
        print_table(benchmark_table(rows, area))
