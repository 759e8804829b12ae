"""The verbs that examine a prompt: evaluate, inspect and export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hardprompt.cli.options import Json, Number, RunOptimizer, RunSeed, RunWeight, prompt_options, request_options
from hardprompt.cli.output import print_json, print_line, print_table
from hardprompt.cli.verbs import PROMPT, verb


@verb(
    PROMPT,
    "hardprompt evaluate --text 'give the plural' --task plural",
    "hardprompt evaluate --run my-study --optimizer soft --seed 0",
    "hardprompt evaluate --run my-study --number 4 --task plural",
)
@request_options(
    *("task", "split", "data", "shots", "limit", "skip_unusable", "chat", "prompt_turn", "template", "label_words", "match"),
    *("lm", "readers", "start", "device", "dtype", "memory", "metrics"),
    of_run=True,
)
@prompt_options
def evaluate(
    fields: dict[str, Any],
    named: Any,
    as_json: Json = False,
) -> None:
    """Measure a prompt on a task and a model with every metric.

    Give the prompt by one of --text, --ids, --run and --soft.
    """
    from hardprompt.lm.chat import template_of
    from hardprompt.report.prompt_tables import evaluation_table
    from hardprompt.study.evaluation import evaluate as measure
    from hardprompt.study.loading import load_metrics, load_model, load_readers, load_tasks, log_warnings

    request = named.request(fields)
    [task] = load_tasks(request).values()
    named.check_data(task, fields)
    model = load_model(request)
    found = measure(
        named.prompt(model, template_of(model, task)),
        task,
        model,
        readers=load_readers(request),
        vocabulary=request.vocabulary,
        projection=named.projection,
        prompt_length=request.prompt_length if named.run else None,
        metrics=load_metrics(request),
    )
    log_warnings(task.warnings)
    if as_json:
        print_json(found)
    else:
        print_table(evaluation_table(found))


@verb(
    PROMPT,
    "hardprompt inspect --text 'give the plural' --task plural",
    "hardprompt inspect --run my-study --optimizer soft --seed 0",
    name="inspect",
)
@request_options(
    *("task", "data", "skip_unusable", "chat", "prompt_turn", "lm", "readers", "start", "device"),
    of_run=True,
    defaults={"task": "none"},
    help={
        "task": "Task whose dev examples measure each token, and each text that a soft prompt can be read as.",
        "data": "For a task on real data: its file or folder.",
    },
)
@prompt_options
def inspect_prompt(
    fields: dict[str, Any],
    named: Any,
    as_json: Json = False,
) -> None:
    """Show a prompt token by token: surprisal, norm, nearest tokens.

    Give the prompt by one of --text, --ids, --run and --soft.
    """
    from hardprompt.experiments.wayward.run import default_judge
    from hardprompt.lm import allowed_vocabulary
    from hardprompt.metrics import inspect
    from hardprompt.metrics.soft_prompt_readings import soft_prompt_readings
    from hardprompt.prompt import SoftPrompt
    from hardprompt.report.prompt_tables import inspection_table, readings_table
    from hardprompt.scoring import Scorer
    from hardprompt.study.loading import load_model, load_readers, load_tasks

    request = named.request(fields)
    model = load_model(request)
    scorer, place = None, {}
    if "task" in fields:
        [task] = load_tasks(request).values()
        scorer = Scorer(model, task, task.dev)
        place = {"template": scorer.template}
    prompt = named.prompt(model, **place)
    found = inspect(prompt, model, scorer=scorer)
    if scorer and scorer.template.chat:
        found["chat"] = scorer.template.fill("{input}", found["prompt_text"] or "{prompt}")
    if scorer and isinstance(prompt, SoftPrompt):
        readers = load_readers(request) if "readers" in fields or task.embedded else ()
        judge = default_judge(task, model, next(iter(readers), None))
        found["readings"] = soft_prompt_readings(prompt, scorer, judge, allowed_vocabulary(model, request.vocabulary, task))
    if as_json:
        print_json(found)
        return
    print_table(inspection_table(found))
    if "readings" in found:
        print_table(readings_table(found["readings"]))


@verb(
    PROMPT,
    "hardprompt export my-study --to peft --optimizer soft --seed 0",
    "hardprompt export my-study --to text --number 4 --out prompt",
)
def export(
    run: Annotated[Path, typer.Argument(help="Folder of the study that found the prompt.")],
    to: Annotated[str, typer.Option(help="Format: peft (an adapter; the prompt must come before the input), text or json.")],
    number: Number = None,
    optimizer: RunOptimizer = None,
    weight: RunWeight = None,
    seed: RunSeed = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; it must be empty.", show_default="RUN-TO")] = None,
    as_json: Json = False,
) -> None:
    """Write the prompt of a run as a peft adapter, text or JSON.

    A model card is written as well.
    """
    from hardprompt.export import export as write
    from hardprompt.records.prompt_ref import PromptRef

    folder = write(PromptRef(run=run, number=number, optimizer=optimizer, weight=weight, seed=seed), to, out)
    files = sorted(file.name for file in folder.iterdir())
    if as_json:
        print_json({"folder": str(folder), "files": files})
    else:
        print_line(f"{', '.join(files)} are in {folder}")
