"""The studies of a recipe and the runs of a study. Nothing is loaded and nothing runs here."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from hardprompt.data.yaml_lines import Place
from hardprompt.errors import RequestError
from hardprompt.optimizers import Optimizer
from hardprompt.records.request import MODEL_FIELDS, TASK_FIELDS, Run, StudyRequest
from hardprompt.study.recipe import Recipe, remaining_options

RECIPE_ONLY_FIELDS = ("about", "minutes", "threads", "studies", "tasks", "models")


@dataclass(frozen=True)
class PlannedStudy:
    """A study of a recipe.

    Attributes:
        variant: the name of the variant; empty if the recipe has no variants.
        request: the request of the study.
    """

    variant: str
    request: StudyRequest
    _places: tuple[Place, ...]  # the places of its task, its model, its variant and the whole recipe

    def blame(self, recipe: Recipe, error: RequestError) -> RequestError:
        """The error with the place in the recipe that caused it."""
        field, *rest = error.about or ("task",)
        if field in ("task", "lm"):
            return recipe.wrong(self._places[0 if field == "task" else 1], str(error))
        own = {name: number for number, names in enumerate((TASK_FIELDS, MODEL_FIELDS)) for name in names}
        near = [place for number, place in enumerate(self._places) if number > 1 or own.get(str(field)) == number]
        at = next((place for place in near if recipe.holds((*place, field))), ())
        return recipe.wrong((*at, field, *rest), str(error))


def planned_studies(recipe: Recipe) -> list[PlannedStudy]:
    """Plan the studies of a recipe: a request for each variant, task and model, in this order.

    Raises:
        RequestError: a study has no task, or a value cannot be used; the message begins with the place in the recipe.
    """
    variants: dict[str, dict[str, Any]] = recipe.fields.get("studies") or {"": {}}
    return [study for name, own in variants.items() for study in _variant_studies(recipe, name, own)]


def _variant_studies(recipe: Recipe, name: str, own: dict[str, Any]) -> Iterator[PlannedStudy]:
    at: Place = ("studies", name) if name else ()
    fields = {key: value for key, value in (recipe.fields | own).items() if key not in RECIPE_ONLY_FIELDS}
    if "optimizers" in own and "options" not in own:
        fields["options"] = remaining_options(fields.get("options", {}), recipe.fields.get("optimizers"), own["optimizers"])
    tasks, at_tasks = _entries(recipe, own, at, "tasks")
    models, at_models = _entries(recipe, own, at, "models")
    if not tasks:
        raise recipe.wrong(at_tasks, "no task is given; name at least one, such as tasks: [category]")
    for (i, task), (j, model) in product(enumerate(tasks), enumerate(models or [{}])):
        places = ((*at_tasks, i), (*at_models, j), at, ())
        try:
            request = StudyRequest.make(**{"preset": "quick"} | fields | model | task)
        except RequestError as error:
            raise PlannedStudy(name, StudyRequest(), places).blame(recipe, error) from error
        yield PlannedStudy(name, request, places)


def _entries(recipe: Recipe, own: dict[str, Any], at: Place, kind: str) -> tuple[list[dict[str, Any]], Place]:
    """The tasks or models of a variant, and their place in the recipe."""
    return (own[kind], (*at, kind)) if kind in own else (recipe.fields.get(kind, []), (kind,))


def plan(request: StudyRequest, optimizers: dict[str, tuple[Optimizer[Any], Any]]) -> Iterator[Run]:
    """The runs of a request, ordered by split and seed, so that an interrupted study holds complete comparisons.

    Args:
        request: the request of the study.
        optimizers: each optimizer with its configuration, by name; one that does not use the fluency weight runs with weight 0.
    """
    for split in request.splits:
        for seed in request.seeds:
            for name, (optimizer, _) in optimizers.items():
                for weight in request.weights if optimizer.uses_weight else (0.0,):
                    yield Run(name, split, seed, weight)
