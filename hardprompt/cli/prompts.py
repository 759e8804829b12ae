"""The verbs that examine a prompt: evaluate, read, inspect and export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hardprompt.cli.help import PROMPT
from hardprompt.cli.options import Json, Number, RunOptimizer, RunSeed, RunWeight, prompt_options, request_options
from hardprompt.cli.output import print_json, print_line, print_table, share_display
from hardprompt.cli.verbs import verb
from hardprompt.errors import RequestError


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
    "hardprompt read --run my-study --optimizer soft --seed 0",
    "hardprompt read --soft vectors.npy --task my-task.jsonl --template '{input}\\n{prompt}' --lm smollm2",
    "hardprompt read --text 'plural banana give' --task plural --readers samples,known-instructions",
)
@request_options(
    *("task", "split", "data", "shots", "limit", "skip_unusable", "chat", "prompt_turn", "template", "label_words", "match"),
    *("lm", "reader_lms", "start", "device", "dtype", "memory", "options"),
    of_run=True,
    help={"options": "Option of a reader, as READER.NAME=VALUE. Can be repeated."},
)
@prompt_options
def read(
    fields: dict[str, Any],
    named: Any,
    inputs: Annotated[
        Path | None,
        typer.Option(help="File with one input per line, without answers.", show_default="the train inputs of the task"),
    ] = None,
    readers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Methods of reading; also names of optimizers of hard prompts.",
            show_default="nearest, self-description, samples and wide-beam, where they fit",
        ),
    ] = None,
    candidate: Annotated[
        list[str] | None, typer.Option("--candidate", help="A text of your own to measure as well. Can be repeated.")
    ] = None,
    max_length: Annotated[int, typer.Option(min=1, help="Largest number of tokens of a text.")] = 10,
    lm_tokens: Annotated[int, typer.Option(min=1, help="Budget of each reader in LM tokens.")] = 60_000,
    as_json: Json = False,
) -> None:
    """Read a prompt as text by what it makes the model answer.

    Texts are searched whose answers are closest to those under the prompt, and compared with it on inputs that the search did
    not see. Ctrl-C shows the best texts so far. With --run, the study's folder keeps the answer, unless another task or model
    is given.

    Give the prompt by one of --text, --ids, --run and --soft.
    """
    from hardprompt.cli.reading import words
    from hardprompt.data.rows import read_lines
    from hardprompt.lm.chat import template_of
    from hardprompt.readings.read import read as read_prompt
    from hardprompt.report.prompt_tables import texts_table
    from hardprompt.study.loading import load_model, load_readers, load_tasks, log_warnings

    options = fields.pop("options", {})
    request = named.request(fields)
    [task] = load_tasks(request).values()
    named.check_data(task, fields)
    model = load_model(request)
    with share_display(as_json, "reading") as progress:
        found = read_prompt(
            named.prompt(model, template_of(model, task)),
            task,
            model,
            inputs=None if inputs is None else [line.strip() for _, line in read_lines(inputs) if line.strip()],
            readers=words("--readers", readers),
            texts=candidate or (),
            held_out_lms=load_readers(request),
            max_length=max_length,
            lm_tokens=lm_tokens,
            options=options,
            progress=progress,
        )
    log_warnings(task.warnings)
    described = found.as_json()
    saved = named.save_reading(described, request)
    if as_json:
        print_json(described)
    else:
        print_table(texts_table(described, model.name))
        if saved:
            print_line(f"{named.run} holds this reading; hardprompt report {named.run} puts it on the page")


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
    from hardprompt.lm.chat import template_of
    from hardprompt.metrics import inspect
    from hardprompt.metrics.soft_prompt_readings import soft_prompt_readings
    from hardprompt.prompt import SoftPrompt
    from hardprompt.report.prompt_tables import inspection_table, readings_table, texts_table
    from hardprompt.scoring import Scorer
    from hardprompt.scoring.truncation import fit_to_context
    from hardprompt.study.loading import load_model, load_readers, load_tasks

    ignored = [name for name in ("data", "skip_unusable", "chat", "prompt_turn") if name in fields]
    if ignored and "task" not in fields:
        raise RequestError(f"--{ignored[0].replace('_', '-')} is about a task; give --task as well")
    request = named.request(fields)
    model = load_model(request)
    scorer, place = None, {}
    if "task" in fields:
        [task] = load_tasks(request).values()
        place = {"template": template_of(model, task)}
    prompt = named.prompt(model, **place)
    if "readers" in fields and not ("task" in fields and isinstance(prompt, SoftPrompt)):
        raise RequestError("--reader judges the texts of a soft prompt on a task; leave it out")
    if "task" in fields:
        task = fit_to_context(task, model, len(prompt.embeds if isinstance(prompt, SoftPrompt) else prompt.ids))
        scorer = Scorer(model, task, task.dev)
    found = inspect(prompt, model, scorer=scorer)
    if scorer and scorer.template.chat:
        found["chat"] = scorer.template.fill("{input}", found["prompt_text"] or "{prompt}")
    if scorer and isinstance(prompt, SoftPrompt):
        readers = load_readers(request) if "readers" in fields or task.embedded else ()
        judge = default_judge(task, model, next(iter(readers), None))
        found["readings"] = soft_prompt_readings(prompt, scorer, judge, allowed_vocabulary(model, request.vocabulary, task))
    if saved := named.saved_reading:
        found["read_as"] = saved
    if as_json:
        print_json(found)
        return
    print_table(inspection_table(found))
    if saved and named.point:
        print_table(texts_table(saved, named.point["lm"]))
    if "readings" in found:
        print_table(readings_table(found["readings"]))


@verb(
    PROMPT,
    "hardprompt export my-study --to peft --optimizer soft --seed 0",
    "hardprompt export my-study --to text --number 4 --out prompt",
    "hardprompt export my-study --to lm-eval --optimizer manual --seed 0",
)
def export(
    run: Annotated[Path, typer.Argument(help="Folder of the study that found the prompt.")],
    to: Annotated[
        str,
        typer.Option(
            help="Format: peft (an adapter; the prompt must come before the input), text, json, lm-eval (a task of the "
            "EleutherAI evaluation harness) or transformers (a script)."
        ),
    ],
    number: Number = None,
    optimizer: RunOptimizer = None,
    weight: RunWeight = None,
    seed: RunSeed = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; it must be empty.", show_default="RUN-TO")] = None,
    as_json: Json = False,
) -> None:
    """Write the prompt of a run as an adapter, text, JSON or program.

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
