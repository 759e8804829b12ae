"""The text of `hardprompt --help`, which is printed without importing Typer or any verb, so that it appears at once."""

import textwrap

SEARCH = "Search for prompts"
PROMPT = "Examine a prompt"
LOOK_UP = "Look up"
TASKS = "Your own tasks"
EXPERIMENTS = "Published experiments"

VERBS = {
    SEARCH: {
        "compare": "Compare prompt optimizers on a task, and draw the trade-off.",
        "plan": "Estimate what a recipe costs: runs, tokens, hours, memory, disk.",
        "run": "Run the studies of a recipe. Rerun the same command to resume.",
        "optimize": "Run one optimizer once and print the prompt that it finds.",
    },
    PROMPT: {
        "evaluate": "Measure a prompt on a task and a model with every metric.",
        "read": "Read a prompt as text by what it makes the model answer.",
        "transfer": "Measure the prompts of studies on other models.",
        "inspect": "Show a prompt token by token: surprisal, norm, nearest tokens.",
        "export": "Write the prompt of a run as an adapter, text, JSON or program.",
    },
    LOOK_UP: {
        "ls": "List tasks, models, optimizers, readers, metrics or downloads.",
        "download": "Download a model from the package index that pip uses.",
        "report": "Draw the report of a study, or of several side by side.",
    },
    TASKS: {
        "new-task": "Write a folder with a commented task.yaml and a data file.",
        "validate": "Check a task: errors, warnings, and what the model reads.",
    },
    EXPERIMENTS: {
        "wayward": "Train a soft prompt that projects to a text of your choice.",
        "geometry": "Train soft prompts from initial words, and locate their vectors.",
        "reproduce": "Measure published claims again, with an interval and a verdict.",
        "benchmark": "Read soft prompts of known origin, and show how well readers do.",
    },
}
"""By heading, each verb with the first line of its docstring; a test compares them."""

ABOUT = "Find prompts for a frozen language model, and measure how well they perform and how readable they are."
MORE = "`hardprompt VERB --help` shows the options of a verb, with examples."
VERSION = "Print the version and exit."


def help_text() -> str:
    """The help of the program, at most 80 columns wide."""
    options = {"--version": VERSION, "-h, --help": "Show this message and exit."}
    lists = VERBS | {"Options": options}
    width = max(len(name) for names in lists.values() for name in names)
    parts = ["Usage: hardprompt [OPTIONS] VERB [ARGS]...", textwrap.fill(ABOUT, 80)]
    for heading, names in lists.items():
        parts.append("\n".join([f"{heading}:", *(f"  {name:{width}}  {about}" for name, about in names.items())]))
    return "\n\n".join([*parts, MORE])
