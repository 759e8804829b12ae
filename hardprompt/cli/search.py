"""The verbs that search for prompts: compare, plan, run and optimize."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hardprompt.cli.help import SEARCH
from hardprompt.cli.options import Json, RetryFailed, Track, request_options
from hardprompt.cli.output import print_estimate, print_json, print_points, print_studies, progress_display
from hardprompt.cli.verbs import verb
from hardprompt.errors import RequestError
from hardprompt.records.request import StudyRequest

TASK_OPTIONS = (
    *("data", "shots", "limit", "skip_unusable", "chat", "prompt_turn"),
    *("template", "label_words", "match", "reference_prompts"),
)
MaxHours = Annotated[
    float | None, typer.Option(metavar="HOURS", min=0, help="Refuse the recipe if its runs are estimated to take longer.")
]
MODEL_OPTIONS = ("lm", "over", "readers", "start", "device", "dtype", "memory")


@verb(
    SEARCH,
    "hardprompt compare",
    "hardprompt compare --task plural --optimizers manual,pez,rl --seeds 0,1,2",
    "hardprompt compare --lm microworld,microworld-reader --optimizers manual,race",
    "hardprompt compare --task plural --prompts my-prompts.txt",
    "hardprompt compare --lm distilgpt2 --task sst2 --splits 13,21 -o pez.steps=500",
)
@request_options(
    *("task", "splits", *TASK_OPTIONS, "prompts", *MODEL_OPTIONS),
    *("optimizers", "options", "weights", "seeds", "lm_tokens", "prompt_length", "length_weight", "vocabulary", "metrics"),
    defaults={"seeds": "set by --preset", "lm_tokens": "set by --preset"},
)
def compare(
    fields: dict[str, Any],
    preset: Annotated[
        str,
        typer.Option(help="quick (2 seeds, 100000 LM tokens per run, 3 minutes) or default (3 seeds, 600000 LM tokens)."),
    ] = "quick",
    out: Annotated[Path | None, typer.Option(help="Folder of the record.", show_default="hardprompt-out/TASK-LM")] = None,
    retry_failed: RetryFailed = False,
    track: Track = None,
    as_json: Json = False,
) -> None:
    """Compare prompt optimizers on a task, and draw the trade-off.

    Each optimizer runs for each data split and seed, and for each weight if it uses one. Rerun the same command to resume.
    """
    from hardprompt.study.runner import run_study

    request = StudyRequest.make(preset, **fields)
    with progress_display(as_json, track or ()) as display:
        ended = run_study(request, out, display, retry_failed=retry_failed)
    print_studies(ended, as_json)


RecipeOption = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", metavar="FIELD=VALUE", help="Replace a value of the recipe. Can be repeated."),
]
RecipeOut = Annotated[Path | None, typer.Option(help="Folder of the studies.", show_default="hardprompt-out/RECIPE")]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Number of runs at the same time.", show_default="as many as cores and memory allow"),
]


@verb(
    SEARCH,
    "hardprompt plan runs/quick.yaml",
    "hardprompt plan recipe.yaml -o lm_tokens=600000 --gpu h100 --max-hours 24",
)
def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    option: RecipeOption = None,
    out: RecipeOut = None,
    jobs: Jobs = None,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also estimate the time on this GPU, such as h100, from its published speed."),
    ] = None,
    max_hours: MaxHours = None,
    as_json: Json = False,
) -> None:
    """Estimate what a recipe costs: runs, tokens, hours, memory, disk.

    Nothing is written. Each model is measured for about ten seconds. Runs that are recorded in --out are not counted.
    """
    from hardprompt.study.estimate import estimate
    from hardprompt.study.recipe import read_recipe

    found = estimate(read_recipe(recipe, option or ()), out, jobs=jobs, gpu=gpu)
    if max_hours is not None:
        found.refuse_above(max_hours)
    if as_json:
        print_json(found.as_json())
    else:
        print_estimate(found)


@verb(
    SEARCH,
    "hardprompt run runs/quick.yaml",
    "hardprompt run runs/quick.yaml -o seeds=0,1 -o pez.steps=500 --jobs 2",
    "hardprompt run --schema",
)
def run(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe, a YAML file.", show_default=False)] = None,
    option: RecipeOption = None,
    out: RecipeOut = None,
    jobs: Jobs = None,
    ray: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Ray cluster that carries out the runs; auto finds a local one.")
    ] = None,
    slurm: Annotated[
        str | None,
        typer.Option(
            metavar="auto|KEY=VALUE,...",
            help="Carry out the runs as SLURM jobs, with these options of sbatch, as partition=short.",
        ),
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop after this time.")] = None,
    max_hours: MaxHours = None,
    retry_failed: RetryFailed = False,
    track: Track = None,
    tensorboard: Annotated[Path | None, typer.Option(help="The same as --track tensorboard=FOLDER.", metavar="FOLDER")] = None,
    schema: Annotated[bool, typer.Option("--schema", metavar="", help="Print the JSON schema of recipes.")] = False,
    as_json: Json = False,
) -> None:
    """Run the studies of a recipe. Rerun the same command to resume."""
    from hardprompt.study.estimate import estimate
    from hardprompt.study.recipe import read_recipe, recipe_schema
    from hardprompt.study.runner import run as run_recipe

    if schema:
        return print_json(recipe_schema())
    if recipe is None:
        raise RequestError("name a recipe, a YAML file such as runs/quick.yaml; --schema prints its JSON schema")
    read = read_recipe(recipe, option or ())
    if max_hours is not None:
        if ray or slurm:
            raise RequestError(
                "--max-hours is about this machine; leave it out with --ray and --slurm, and use `hardprompt plan`"
            )
        estimate(read, out, jobs=jobs, retry_failed=retry_failed).refuse_above(max_hours)
    trackers = [*(track or ()), *([f"tensorboard={tensorboard}"] if tensorboard else ())]
    with progress_display(as_json, trackers) as display:
        ended = run_recipe(read, out, display, jobs=jobs, ray=ray, slurm=slurm, timeout=timeout, retry_failed=retry_failed)
    print_studies(ended, as_json, of_recipe=True)


@verb(
    SEARCH,
    "hardprompt optimize pez",
    "hardprompt optimize pez --task plural --weight 0.1 -o pez.steps=200",
    "hardprompt optimize my_optimizer.py:search --seed 3 --json",
)
@request_options(
    *("task", "split", *TASK_OPTIONS, *MODEL_OPTIONS),
    *("options", "weight", "seed", "lm_tokens", "prompt_length", "length_weight", "vocabulary", "metrics"),
    defaults={"lm_tokens": "no limit"},
)
def optimize(
    fields: dict[str, Any],
    name: Annotated[str, typer.Argument(help="The optimizer: a name from `hardprompt ls optimizers`, or path.py:name.")],
    track: Track = None,
    as_json: Json = False,
) -> None:
    """Run one optimizer once and print the prompt that it finds.

    Nothing is written to disk, except by --track.
    """
    from hardprompt.optimizers import Problem, run_optimizer
    from hardprompt.progress.tracking import Tracking
    from hardprompt.records.request import Run
    from hardprompt.records.schema import members
    from hardprompt.study.engine import Job
    from hardprompt.study.loaded_study import reports
    from hardprompt.study.loading import load_metrics, load_models, load_optimizers, load_readers, load_tasks
    from hardprompt.study.measure import joint_name, measure

    request = StudyRequest.make(**{"optimizers": (name,), "lm_tokens": None} | fields)
    [(chosen, config)] = load_optimizers(request).values()
    [task] = load_tasks(request).values()
    models = load_models(request)
    run = Run(chosen.name, request.splits[0], request.seeds[0], request.weights[0])
    job = Job(0, request, run, task.name, joint_name(models))
    with Tracking(track or ()) as tracking:
        problem = Problem(
            task,
            models,
            weight=run.weight,
            length_weight=request.length_weight,
            prompt_length=request.prompt_length,
            vocabulary=request.vocabulary,
            seed=run.seed,
            lm_tokens=request.lm_tokens,
            progress=reports(lambda: problem, lambda step: tracking.advanced(job, step)),
            over=request.over,
        )
        readers, metrics = load_readers(request), load_metrics(request)
        tracking.started(job)
        point = measure(problem, run_optimizer(chosen, problem, config), readers, metrics)
        tracking.finished(job, point)
    if as_json:
        print_json(point)
    else:
        print_points(members(point))
