"""From a recipe to its studies: a request for each task with each model in each variant. Nothing is loaded, nothing runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from hardprompt.data.yaml_lines import Place
from hardprompt.errors import RequestError
from hardprompt.optimizers import Optimizer
from hardprompt.records.request import Run, StudyRequest
from hardprompt.study.recipe import OF_MODEL, OF_TASK, Recipe, options_left

NOT_OF_A_STUDY = ("about", "minutes", "threads", "studies", "tasks", "models")


@dataclass(frozen=True)
class PlannedStudy:
    """A study that a recipe asks for.

    Attributes:
        variant: its name in the recipe; empty where the recipe has no variants.
        request: what is asked for.
    """

    variant: str
    request: StudyRequest
    _places: tuple[Place, ...]  # where the recipe speaks of it, the nearest first

    def blame(self, recipe: Recipe, error: RequestError) -> RequestError:
        """The error with the place in the recipe that it is about."""
        field, *rest = error.about or ("task",)
        if field in ("task", "lm"):
            return recipe.wrong(self._places[0 if field == "task" else 1], str(error))
        own = {name: number for number, names in enumerate((OF_TASK, OF_MODEL)) for name in names}
        near = [place for number, place in enumerate(self._places) if number > 1 or own.get(str(field)) == number]
        at = next((place for place in near if recipe.holds((*place, field))), ())
        return recipe.wrong((*at, field, *rest), str(error))


def planned_studies(recipe: Recipe) -> list[PlannedStudy]:
    """The studies of a recipe, variant by variant, task by task.

    Raises:
        RequestError: a study names no task, or a value cannot be used; with its place in the recipe.
    """
    variants: dict[str, dict[str, Any]] = recipe.fields.get("studies") or {"": {}}
    return [study for name, own in variants.items() for study in _of_variant(recipe, name, own)]


def _of_variant(recipe: Recipe, name: str, own: dict[str, Any]) -> Iterator[PlannedStudy]:
    at: Place = ("studies", name) if name else ()
    fields = {key: value for key, value in (recipe.fields | own).items() if key not in NOT_OF_A_STUDY}
    if "optimizers" in own and "options" not in own:
        fields["options"] = options_left(fields.get("options", {}), recipe.fields.get("optimizers"), own["optimizers"])
    tasks, at_tasks = _entries(recipe, own, at, "tasks")
    models, at_models = _entries(recipe, own, at, "models")
    if not tasks:
        raise recipe.wrong(at_tasks, "no task; name one or several, such as tasks: [category]")
    for (i, task), (j, model) in product(enumerate(tasks), enumerate(models or [{}])):
        places = ((*at_tasks, i), (*at_models, j), at, ())
        try:
            request = StudyRequest.make(**{"preset": "quick"} | fields | model | task)
        except RequestError as error:
            nothing = PlannedStudy(name, StudyRequest(), places)
            raise nothing.blame(recipe, error) from error
        yield PlannedStudy(name, request, places)


def _entries(recipe: Recipe, own: dict[str, Any], at: Place, kind: str) -> tuple[list[dict[str, Any]], Place]:
    """The tasks or models of a variant, and where they stand."""
    return (own[kind], (*at, kind)) if kind in own else (recipe.fields.get(kind, []), (kind,))


def plan(request: StudyRequest, optimizers: dict[str, tuple[Optimizer[Any], Any]]) -> Iterator[Run]:
    """The runs of a request, seed by seed, so that an interrupted study holds whole comparisons."""
    for split in request.splits:
        for seed in request.seeds:
            for name, (optimizer, _) in optimizers.items():
                for weight in request.weights if optimizer.uses_weight else (0.0,):
                    yield Run(name, split, seed, weight)
