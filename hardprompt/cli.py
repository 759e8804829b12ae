"""The command line. Thin: it reads options, calls the library, and turns errors into one line and an exit status.

Exit status: 0 done, 1 the job failed (or some of its runs), 2 the request was wrong, 3 stopped before the end (a time limit, a
stop file), 130 interrupted.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from hardprompt.errors import HardpromptError, RequestError, StudyError, UnknownName

STOPPED, INTERRUPTED = 3, 130

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How well can a prompt do, and how readable can it stay while doing it?",
)

Readers = Annotated[
    list[str] | None, typer.Option("--reader", help="A model that judges readability, named as --lm; may be repeated.")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="A metric to compute beside those of the toolkit: a name or path.py:name; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print a machine-readable answer.")]
TaskName = Annotated[str, typer.Option("--task", help="Name, a folder with task.yaml, a .py or .jsonl file, or path.py:name.")]
LMName = Annotated[str, typer.Option("--lm", help="Embedded model, local folder or hub id.")]
Data = Annotated[str | None, typer.Option(help="Of a task on real data: its file or folder; by default the hub's.")]
Shots = Annotated[int | None, typer.Option(help="Of a task on real data: draw so many examples per label.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the record; by default hardprompt-out/TASK-LM.")]
Template = Annotated[str | None, typer.Option(help="Of a .jsonl task: text with {prompt} and {input}.")]
LabelWords = Annotated[str, typer.Option(help="Of a .jsonl task, or one on real data: label=word,label=word,...")]
Match = Annotated[str, typer.Option(help="Of a .jsonl generation task: exact or starts-with.")]
References = Annotated[list[str] | None, typer.Option("--reference-prompt", help="Of a .jsonl task; may be repeated.")]
Length = Annotated[int, typer.Option("--prompt-length", help="Tokens of the prompts that are searched.")]
Vocabulary = Annotated[str, typer.Option(help="Tokens a hard prompt may use: words, ascii, all, or a file of words.")]
Budget = Annotated[int | None, typer.Option("--lm-tokens", help="Budget of every run in logical LM tokens.")]
Options = Annotated[list[str] | None, typer.Option("-o", "--option", help="An optimizer's option: pez.steps=500.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; by default CUDA where there is one.")]
Dtype = Annotated[str, typer.Option(help="Of the model's weights: float32 or bfloat16.")]
MemorySize = Annotated[str, typer.Option("--memory", help="What scoring may take beside the weights: 512MB, 4GB.")]
Words = Annotated[str | None, typer.Option("--text", help="The prompt as text; empty for no prompt.")]
Ids = Annotated[str | None, typer.Option("--ids", help="The prompt as comma-separated token ids.")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="A study's folder: the prompt is what one of its runs found.")]
SoftFile = Annotated[
    Path | None, typer.Option("--soft", help="A soft prompt: a peft adapter's folder, or .npy, .npz, .safetensors.")
]
Number = Annotated[int | None, typer.Option(help="Of --run: the run's line in points.jsonl, from 1.")]
OfOptimizer = Annotated[str | None, typer.Option("--optimizer", help="Of --run: the run's optimizer, instead of a number.")]
OfWeight = Annotated[float | None, typer.Option("--weight", help="Of --run: the run's fluency weight, likewise.")]
OfSeed = Annotated[int | None, typer.Option("--seed", help="Of --run: the run's random seed, likewise.")]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Make runs again that are recorded as failed.")]
AnyTask = Annotated[str | None, typer.Option("--task", help="As in compare; by default that of the run, or category.")]
AnyLM = Annotated[str | None, typer.Option("--lm", help="As in compare; by default that of the run, or microworld.")]
AnySplit = Annotated[str | None, typer.Option("--split", help="Data split; by default that of the run, or default.")]
AnyDtype = Annotated[str | None, typer.Option("--dtype", help="As in compare; by default that of the run, or float32.")]
AnyMemory = Annotated[str | None, typer.Option("--memory", help="As in compare; by default that of the run, or 2GB.")]


@app.command()
def compare(
    context: typer.Context,
    task: TaskName = "category",
    lm: LMName = "microworld",
    reader: Readers = None,
    metric: Metrics = None,
    optimizers: Annotated[str, typer.Option(help="Comma-separated names, or path.py:name.")] = "",
    weights: Annotated[str, typer.Option(help="Comma-separated fluency weights.")] = "",
    splits: Annotated[str, typer.Option(help="Comma-separated data splits.")] = "",
    seeds: Annotated[str, typer.Option(help="Comma-separated random seeds.")] = "",
    preset: Annotated[str, typer.Option(help="quick (two minutes) or default (what figures are quoted from).")] = "quick",
    out: Out = None,
    data: Data = None,
    shots: Shots = None,
    prompt_length: Length = 5,
    vocabulary: Vocabulary = "words",
    lm_tokens: Budget = None,
    option: Options = None,
    template: Template = None,
    label_words: LabelWords = "",
    match: Match = "exact",
    reference_prompt: References = None,
    device: Device = None,
    dtype: Dtype = "float32",
    memory: MemorySize = "2GB",
    retry_failed: Retry = False,
    as_json: Json = False,
) -> None:
    """Compare prompt optimizers on one task and model, and draw the trade-off."""
    from hardprompt.records.request import StudyRequest

    chosen = {
        "optimizers": _words("--optimizers", optimizers),
        "weights": _numbers("--weights", weights, float),
        "splits": _words("--splits", splits),
        "seeds": _numbers("--seeds", seeds, int),
        "lm_tokens": lm_tokens,
    }
    given = {field: value for field, value in chosen.items() if value is not None}
    request = StudyRequest.make(preset, **_shared(context), **given)
    _run_study(request, out, as_json, retry_failed)


@app.command()
def run(
    recipe: Annotated[Path | None, typer.Argument(help="A YAML file; runs/quick.yaml is one.")] = None,
    option: Annotated[list[str] | None, typer.Option("-o", "--option", help="Put into the recipe: seeds=0,1.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the studies; by default hardprompt-out/RECIPE.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at once; by default what cores and memory allow.")] = None,
    ray: Annotated[str | None, typer.Option(help="HOST:PORT of a Ray cluster that makes the runs, or auto.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which to stop; the same again goes on.")] = None,
    retry_failed: Retry = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Also write the progress there, for TensorBoard.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the form of a recipe, a JSON schema for editors.")] = False,
    as_json: Json = False,
) -> None:
    """Run the studies that a recipe asks for; again, what is missing of them."""
    from hardprompt.study.recipe import read_recipe, recipe_schema
    from hardprompt.study.runner import run as carry_out

    if schema:
        print(json.dumps(recipe_schema(), ensure_ascii=False, indent=2))
        return
    if recipe is None:
        raise RequestError("name a recipe, a YAML file such as runs/quick.yaml; --schema prints its form")
    asked = read_recipe(recipe, option or ())
    with _display(as_json, tensorboard) as display:
        ended = carry_out(asked, out, display, jobs=jobs, ray=ray, timeout=timeout, retry_failed=retry_failed)
    _answer(ended, as_json, of_recipe=True)


@app.command()
def optimize(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The optimizer: a name, or path.py:name.")],
    task: TaskName = "category",
    lm: LMName = "microworld",
    reader: Readers = None,
    metric: Metrics = None,
    weight: Annotated[float, typer.Option(help="Nats of task loss that one nat per token of prompt NLL costs.")] = 0.0,
    split: Annotated[str, typer.Option(help="Data split.")] = "default",
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    data: Data = None,
    shots: Shots = None,
    prompt_length: Length = 5,
    vocabulary: Vocabulary = "words",
    lm_tokens: Budget = None,
    option: Options = None,
    template: Template = None,
    label_words: LabelWords = "",
    match: Match = "exact",
    reference_prompt: References = None,
    device: Device = None,
    dtype: Dtype = "float32",
    memory: MemorySize = "2GB",
    as_json: Json = False,
) -> None:
    """Run one optimizer once and print what it found; nothing is written."""
    from hardprompt.optimizers import Problem, run_optimizer
    from hardprompt.records.request import StudyRequest
    from hardprompt.study.loading import load_metrics, load_model, load_optimizers, load_readers, load_tasks
    from hardprompt.study.measure import measure

    request = StudyRequest.make(
        optimizers=(name,), weights=(weight,), splits=(split,), seeds=(seed,), lm_tokens=lm_tokens, **_shared(context)
    )
    [(chosen, config)] = load_optimizers(request).values()
    problem = Problem(
        load_tasks(request)[split],
        load_model(request),
        weight=weight,
        prompt_length=prompt_length,
        vocabulary=vocabulary,
        seed=seed,
        lm_tokens=lm_tokens,
    )
    readers, metrics = load_readers(request), load_metrics(request)
    point = measure(problem, run_optimizer(chosen, problem, config), readers, metrics)
    if as_json:
        print(json.dumps(point, ensure_ascii=False, indent=2))
    else:
        _show([point], as_json)


@app.command()
def evaluate(
    context: typer.Context,
    text: Words = None,
    ids: Ids = None,
    run: RunFolder = None,
    soft: SoftFile = None,
    number: Number = None,
    optimizer: OfOptimizer = None,
    weight: OfWeight = None,
    seed: OfSeed = None,
    task: AnyTask = None,
    lm: AnyLM = None,
    reader: Readers = None,
    metric: Metrics = None,
    split: AnySplit = None,
    data: Data = None,
    shots: Shots = None,
    template: Template = None,
    label_words: LabelWords = "",
    match: Annotated[str | None, typer.Option(help="Of a .jsonl generation task: exact or starts-with.")] = None,
    device: Device = None,
    dtype: AnyDtype = None,
    memory: AnyMemory = None,
    as_json: Json = False,
) -> None:
    """Measure any prompt (--text, --ids, --run or --soft) on any task and model: accuracy, loss and every metric."""
    from hardprompt.report.prompt_tables import evaluation_table
    from hardprompt.study.evaluation import evaluate as measured
    from hardprompt.study.loading import load_metrics, load_model, load_readers, load_tasks

    named = _named(context)
    chosen = {
        "splits": (split,) if split is not None else None,
        "label_words": _pairs("--label-words", label_words) or None,
        "readers": tuple(reader or ()) or None,
        "metrics": tuple(metric or ()) or None,
        **{name: context.params[name] for name in SAME_NAME if name in context.params},
    }
    given = {field: value for field, value in chosen.items() if value is not None}
    request = named.request(given)
    [found_task] = load_tasks(request).values()
    named.check_data(found_task, given)
    model = load_model(request)
    found = measured(
        named.prompt(model, found_task.template_for(model.masked)),
        found_task,
        model,
        readers=load_readers(request),
        vocabulary=request.vocabulary,
        projection=named.projection,
        prompt_length=request.prompt_length if run else None,
        metrics=load_metrics(request),
    )
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _console().print(evaluation_table(found))


@app.command("inspect")
def inspect_prompt(
    context: typer.Context,
    text: Words = None,
    ids: Ids = None,
    run: RunFolder = None,
    soft: SoftFile = None,
    number: Number = None,
    optimizer: OfOptimizer = None,
    weight: OfWeight = None,
    seed: OfSeed = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Also say what each token is worth on this task's dev; of a soft prompt, each reading."),
    ] = None,
    data: Data = None,
    lm: AnyLM = None,
    reader: Readers = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Show a prompt (--text, --ids, --run or --soft) token by token: surprisal, norm, nearest tokens, what each is worth."""
    from hardprompt.experiments.wayward.run import default_judge
    from hardprompt.lm import allowed_vocabulary
    from hardprompt.metrics import inspect
    from hardprompt.metrics.soft_prompt_readings import soft_prompt_readings
    from hardprompt.prompt import SoftPrompt
    from hardprompt.report.prompt_tables import inspection_table, readings_table
    from hardprompt.scoring import Scorer
    from hardprompt.study.loading import load_model, load_readers, load_tasks

    named = _named(context)
    given = {"task": task, "data": data, "lm": lm, "device": device, "readers": tuple(reader) if reader else None}
    request = named.request({field: value for field, value in given.items() if value is not None})
    model = load_model(request)
    scorer, place = None, {}
    if task is not None:
        [found_task] = load_tasks(request).values()
        scorer = Scorer(model, found_task, found_task.dev)
        place = {"template": scorer.template}
    prompt = named.prompt(model, **place)
    found = inspect(prompt, model, scorer=scorer)
    if scorer and isinstance(prompt, SoftPrompt):
        readers = load_readers(request) if reader or found_task.embedded else ()
        judge = default_judge(found_task, model, next(iter(readers), None))
        found["readings"] = soft_prompt_readings(prompt, scorer, judge, allowed_vocabulary(model, request.vocabulary))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _console().print(inspection_table(found))
        if "readings" in found:
            _console().print(readings_table(found["readings"]))


@app.command()
def wayward(
    context: typer.Context,
    target: Annotated[str, typer.Option(help="The text that the soft prompt is to project to.")],
    task: TaskName = "category",
    lm: LMName = "microworld",
    reader: Readers = None,
    preset: Annotated[str, typer.Option(help="default, or khashabi: the published schedule.")] = "default",
    gammas: Annotated[str, typer.Option(help="Comma-separated weights of the distance to the target.")] = "",
    steps: Annotated[int | None, typer.Option(help="Training steps per gamma.")] = None,
    split: Annotated[str, typer.Option(help="Data split.")] = "default",
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    data: Data = None,
    shots: Shots = None,
    template: Template = None,
    label_words: LabelWords = "",
    match: Match = "exact",
    reference_prompt: References = None,
    device: Device = None,
    dtype: Dtype = "float32",
    memory: MemorySize = "2GB",
    as_json: Json = False,
) -> None:
    """Train a soft prompt that solves the task and projects to a text of your choice (Khashabi et al. 2022)."""
    from hardprompt.experiments.wayward.run import wayward as train
    from hardprompt.optimizers.wayward import wayward_config
    from hardprompt.records.request import StudyRequest
    from hardprompt.report.prompt_tables import wayward_table
    from hardprompt.study.loading import load_model, load_readers, load_tasks

    request = StudyRequest.make(
        splits=(split,),
        seeds=(seed,),
        readers=tuple(reader or ()),
        label_words=_pairs("--label-words", label_words),
        reference_prompts=tuple(reference_prompt or ()),
        **{name: context.params[name] for name in SAME_NAME if name in context.params},
    )
    chosen = {"gammas": _numbers("--gammas", gammas, float), "steps": steps}
    config = wayward_config(preset, **{name: value for name, value in chosen.items() if value is not None})
    readers = load_readers(request)
    if len(readers) > 1:
        raise RequestError("wayward asks one reader what can be read; name one with --reader")
    [found_task] = load_tasks(request).values()
    model = load_model(request)
    found = train(found_task, model, target, reader=next(iter(readers), None), config=config, seed=seed).described
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _console().print(wayward_table(found))


@app.command()
def geometry(
    context: typer.Context,
    task: Annotated[list[str] | None, typer.Option("--task", help="As in compare; repeat for several.")] = None,
    word: Annotated[list[str] | None, typer.Option("--word", help="An initial word, one token; repeat for several.")] = None,
    lm: LMName = "microworld",
    tokens: Annotated[int, typer.Option(help="Vectors of every soft prompt.")] = 4,
    epochs: Annotated[int, typer.Option(help="Of training; one is as many steps as cover train once.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Examples of a step.")] = 8,
    learning_rate: Annotated[float | None, typer.Option(help="At the start; by default that of the optimizer soft.")] = None,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    split: Annotated[str, typer.Option(help="Data split.")] = "default",
    data: Data = None,
    shots: Shots = None,
    add: Annotated[list[Path] | None, typer.Option(help="Soft prompts from elsewhere: peft adapter, .npy, .npz.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the record; by default hardprompt-out/geometry-LM.")] = None,
    device: Device = None,
    dtype: Dtype = "float32",
    memory: MemorySize = "2GB",
    as_json: Json = False,
) -> None:
    """Train soft prompts for tasks x initial words and show where they lie (Bakalova 2024): tables, pictures, findings."""
    from hardprompt.experiments.geometry.report import PromptLines
    from hardprompt.experiments.geometry.request import GeometryRequest
    from hardprompt.experiments.geometry.run import geometry as study

    several = {"tasks": tuple(task or ()), "words": tuple(word or ())}
    single = {name: value for name, value in context.params.items() if name in GeometryRequest.model_fields}
    request = GeometryRequest.make(**single, **{name: values for name, values in several.items() if values})
    found = study(request, out, PromptLines(_console(stderr=as_json)), add or ())
    _show_geometry(found, as_json)
    if any(line["status"] != "ok" for line in found["prompts"]):
        raise typer.Exit(1)


@app.command()
def reproduce(
    claim: Annotated[list[str] | None, typer.Argument(help="Names of claims or papers; by default all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the records, one for each recipe.")] = Path("hardprompt-out/reproduce"),
    data: Annotated[Path | None, typer.Option(help="Folder with real data, for the recipes that need it.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder with models, for the recipes that need them.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes of a study; by default as many as there are room for.")] = None,
    recorded: Annotated[bool, typer.Option("--recorded", help="Run nothing; judge by what is recorded.")] = False,
    as_json: Json = False,
) -> None:
    """Measure published claims again, each with its figure, interval and verdict; runs the studies that are missing."""
    from hardprompt.experiments.claims import claims
    from hardprompt.experiments.claims.records import Where
    from hardprompt.experiments.claims.report import claims_table
    from hardprompt.experiments.claims.reproduce import reproduce as measure

    asked, screen = claims(tuple(claim or ())), _console(stderr=as_json)
    with _display(as_json) as display:
        where = Where(out, data, models, jobs, recorded)
        found = measure(asked, where, display, lambda recipe: screen.print(f"recipe {recipe}", markup=False))
    if as_json:
        print(json.dumps([each.as_json() for each in found], ensure_ascii=False, indent=2))
    else:
        _console().print(claims_table(found))
        _console().print(f"claims.json and claims.md are in {out}", markup=False, highlight=False)


@app.command("ls")
def list_catalogue(
    what: Annotated[str, typer.Argument(help="tasks, lms, optimizers or metrics.")],
    as_json: Json = False,
) -> None:
    """List what is on offer."""
    from hardprompt.report.listing import LISTINGS, listing_table

    if what not in LISTINGS:
        raise UnknownName("listing", what, LISTINGS)
    entries = LISTINGS[what]()
    if as_json:
        print(json.dumps(entries, ensure_ascii=False, indent=2))
    else:
        _console().print(listing_table(entries))


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of studies.")],
    out: Annotated[
        Path | None, typer.Option(help="Of several studies: folder of the report; by default hardprompt-out/report.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Redraw the page, figures and tables of a study from its points, or of several side by side, and print the table."""
    from hardprompt.experiments.geometry.run import measure_again
    from hardprompt.records.store import Store
    from hardprompt.report.studies import comparisons_sheet, means_sheet, statistics, together
    from hardprompt.report.write import write_beside, write_report, write_side_by_side
    from hardprompt.study.runner import ROOT

    if len(folders) == 1 and (folders[0] / "geometry.yaml").is_file():
        return _show_geometry(measure_again(folders[0]), as_json)
    stores = [Store(folder) for folder in dict.fromkeys(folders)]
    for store in stores:
        if not store.points():
            raise StudyError(f"{store.folder} holds no run yet; give the request again that began it")
    shown = together(stores)
    if len(shown) > 1 or len(stores) > 1:
        target = out or ROOT / "report"
        write_side_by_side(shown, target)
        if as_json:
            print(json.dumps(statistics(shown), ensure_ascii=False, indent=2))
            return
        for sheet in (means_sheet(shown), comparisons_sheet(shown)):
            _console().print(sheet.as_rich())
        _console().print(f"report.html, figures and tables are in {target}", markup=False, highlight=False)
        return
    if out is not None:
        raise RequestError("--out is of several studies; the report of one goes into its own folder")
    [store] = stores
    write_report(store)
    write_beside(shown, store.folder)
    _show(store.points(), as_json)
    _show_found(store.folder, as_json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A study's folder: the prompt is what one of its runs found.")],
    to: Annotated[str, typer.Option(help="peft (an adapter, where the prompt stands first), text or json.")],
    number: Number = None,
    optimizer: OfOptimizer = None,
    weight: OfWeight = None,
    seed: OfSeed = None,
    out: Annotated[Path | None, typer.Option(help="An empty folder; by default RUN-TO.")] = None,
    as_json: Json = False,
) -> None:
    """Write what a run found as a peft adapter, as text or as JSON, with a model card."""
    from hardprompt.export import export as write
    from hardprompt.records.prompt_ref import PromptRef

    folder = write(PromptRef(run=run, number=number, optimizer=optimizer, weight=weight, seed=seed), to, out)
    files = sorted(file.name for file in folder.iterdir())
    if as_json:
        print(json.dumps({"folder": str(folder), "files": files}, ensure_ascii=False, indent=2))
    else:
        _console().print(f"{', '.join(files)} are in {folder}", markup=False, highlight=False)


@app.command("new-task")
def new_task(
    name: Annotated[str, typer.Argument(help="Name of the task and of its folder.")],
    out: Annotated[Path, typer.Option(help="Folder that it is put in.")] = Path("."),
) -> None:
    """Write a commented start for a task of your own, which works as it is."""
    from hardprompt.custom_task.scaffold import new_task as write

    print(f"{write(name, out)} is there; change it, and check it with: hardprompt validate {out / name}")


@app.command()
def validate(
    path: Annotated[str, typer.Argument(help="Folder with task.yaml, that file, a .py file, or path.py:name.")],
    lm: LMName = "microworld",
    as_json: Json = False,
) -> None:
    """Check a task of your own: all that is wrong, what the model reads, and scores that need no prompt."""
    from hardprompt.custom_task.report import checked_lines
    from hardprompt.custom_task.validate import validate as check

    checked = check(path, lm)
    print(json.dumps(checked.as_json(), ensure_ascii=False, indent=2) if as_json else "\n".join(checked_lines(checked)))
    if checked.errors:
        raise typer.Exit(2)


def main() -> None:
    """Entry point of the console script: every expected error is one line on stderr."""
    try:
        status = app(_texts(sys.argv[1:]) or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        status = _fail(error.format_message(), 2)
    except RequestError as error:
        status = _fail(str(error), 2)
    except HardpromptError as error:
        status = _fail(str(error), 1)
    except OSError as error:  # a full disk, a name that no file can have
        status = _fail(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:  # which is also how typer answers an interruption
        _fail("interrupted; a study keeps its finished runs, and the same command goes on from there", status)
    sys.exit(status if isinstance(status, int) else 0)


SAME_NAME = ("task", "lm", "data", "shots", "prompt_length", "vocabulary", "template", "match", "device", "dtype", "memory")
"""Options of `compare` and `optimize` that are fields of a request as they are."""


def _shared(context: typer.Context) -> dict[str, Any]:
    """The request's fields that `compare` and `optimize` have in common."""
    given = context.params
    return {name: given[name] for name in SAME_NAME} | {
        "label_words": _pairs("--label-words", given["label_words"]),
        "readers": tuple(given["reader"] or ()),
        "metrics": tuple(given["metric"] or ()),
        "reference_prompts": tuple(given["reference_prompt"] or ()),
        "options": _options(given["option"] or []),
    }


def _named(context: typer.Context) -> Any:
    """The prompt that `evaluate` and `inspect` are asked about."""
    from hardprompt.records.prompt_ref import PromptRef

    given = context.params
    ids = None if given["ids"] is None else _numbers("--ids", given["ids"], int)
    if given["ids"] is not None and ids is None:
        raise RequestError("--ids names no token; the empty prompt is --text ''")
    selectors = {name: given[name] for name in ("number", "optimizer", "weight", "seed")}
    return PromptRef(text=given["text"], ids=ids, run=given["run"], soft=given["soft"], **selectors)


def _run_study(request: Any, out: Path | None, as_json: bool, retry_failed: bool) -> None:
    from hardprompt.study.runner import run_study

    with _display(as_json) as display:
        ended = run_study(request, out, display, retry_failed=retry_failed)
    _answer(ended, as_json)


@contextmanager
def _display(as_json: bool, tensorboard: Path | None = None) -> Iterator[Any]:
    """What is told of the progress of studies; where the answer is JSON, nothing else goes to stdout in the block."""
    from hardprompt.progress.live_display import LiveDisplay
    from hardprompt.progress.tensorboard import TensorBoard

    with ExitStack() as stack:
        if as_json:
            stack.enter_context(redirect_stdout(sys.stderr))
        shown = stack.enter_context(LiveDisplay(_console(stderr=as_json)))
        yield stack.enter_context(TensorBoard(tensorboard, shown)) if tensorboard else shown


def _answer(ended: Any, as_json: bool, of_recipe: bool = False) -> None:
    """What studies came to, on stdout, and the exit status."""
    recorded = {store.folder: store.points() for store in ended.stores}
    if as_json:
        listed = [{"folder": str(folder), "points": points} for folder, points in recorded.items()]
        answer = {"studies": listed, "left": ended.left, "stopped": ended.stopped} if of_recipe else listed[0]["points"]
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        for folder, points in recorded.items():
            _show(points, as_json)
            _show_found(folder, as_json or of_recipe)
        _show_failed(recorded)
        files = "report.html, tradeoff.png, frontier.json and points.jsonl"
        below = " (a folder for each study)" if of_recipe else ""
        if recorded:
            _console().print(f"{files} are in {ended.folder}{below}", markup=False, highlight=False)
    if ended.stopped:
        left = "no run had begun" if ended.left is None else f"{ended.left} runs are left"
        _fail(f"{ended.stopped}: {left}, and the same command goes on from there", STOPPED)
        raise typer.Exit(STOPPED)
    if ended.failed:
        raise typer.Exit(1)


def _show_failed(recorded: dict[Path, list[dict[str, Any]]]) -> None:
    from hardprompt.records.schema import run_records
    from hardprompt.report.study_tables import failed_lines

    for folder, points in recorded.items():
        for line in failed_lines(run_records(points)):
            _console().print(f"{folder}: {line}", markup=False, highlight=False)
    if any(point["status"] != "ok" for points in recorded.values() for point in points):
        _console().print("--retry-failed makes the failed runs again", markup=False, highlight=False)


def _show(points: list[dict[str, Any]], as_json: bool) -> None:
    from hardprompt.records.schema import run_records
    from hardprompt.report.study_tables import results_sheet

    if as_json:
        print(json.dumps(points, ensure_ascii=False, indent=2))
    else:
        _console().print(results_sheet(run_records(points)).as_rich())


def _show_found(folder: Path, as_json: bool) -> None:
    from hardprompt.report.study_tables import coverage_sheet, differences_sheet

    file = folder / "frontier.json"
    if as_json or not file.is_file():
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    for sheet in (differences_sheet(found), *([coverage_sheet(found)] if found["known"] else [])):
        if sheet.rows:
            _console().print(sheet.as_rich())


def _show_geometry(found: dict[str, Any], as_json: bool) -> None:
    from hardprompt.experiments.geometry.report import accuracy_table, findings_table

    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for table in (accuracy_table(found["prompts"]), findings_table(found)):
        _console().print(table)
    _console().print(f"report.html and the sheets are in {found['folder']}", markup=False, highlight=False)


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, width=None if sys.stdout.isatty() else 140, highlight=False)


def _fail(message: str, status: int) -> int:
    print(f"hardprompt: {' '.join(message.split())}", file=sys.stderr)
    return status


def _texts(arguments: list[str]) -> list[str]:
    """The arguments themselves, which the system may have given as bytes that are no text."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"the argument {argument!r} is not UTF-8; write it, or name the file, in UTF-8") from error
    return arguments


def _words(name: str, text: str) -> tuple[str, ...] | None:
    """What stands between the commas; None for nothing at all."""
    words = tuple(word.strip() for word in text.split(","))
    if text and not all(words):
        raise RequestError(f"{name}: {text!r} has an empty place between its commas; fill it or take it out")
    return words if text else None


def _numbers(name: str, text: str, kind: type) -> tuple[Any, ...] | None:
    try:
        return tuple(kind(word) for word in _words(name, text) or ()) or None
    except ValueError as error:
        raise RequestError(f"{name}: {text!r} is no comma-separated list of numbers") from error


def _pairs(name: str, text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in _words(name, text) or ()]
    if any(not equals or not label or not word for label, equals, word in pairs):
        raise RequestError(f"{name}: {text!r} is no list like 0=terrible,1=great")
    found = {label: word for label, _, word in pairs}
    if len(found) < len(pairs):
        raise RequestError(f"{name}: {text!r} gives a label twice")
    return found


def _options(given: list[str]) -> dict[str, dict[str, Any]]:
    """`pez.steps=500` -> {"pez": {"steps": "500"}}; the optimizer's configuration reads the values."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        path, equals, value = text.partition("=")
        optimizer, dot, option = path.rpartition(".")
        if not (equals and dot and optimizer and option):
            raise RequestError(f"option {text!r} is not of the form optimizer.option=value, such as pez.steps=500")
        found.setdefault(optimizer, {})[option] = value
    return found
