"""Recipes: a file is planned without running anything, and one or several processes give the same results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import hardprompt
from hardprompt.errors import RequestError, StudyError
from hardprompt.lm.memory import BUDGET
from hardprompt.records.request import StudyRequest
from hardprompt.records.store import Store
from hardprompt.study.engine import SilentListener
from hardprompt.study.loaded_study import StudyInfo
from hardprompt.study.loading import load_optimizers, load_tasks
from hardprompt.study.planner import PlannedStudy, planned_studies
from hardprompt.study.recipe import RecipeFile, read_recipe, recipe_schema
from hardprompt.study.resources import MachineResources, process_count
from hardprompt.study.runner import compare
from tests.helpers import Ask
from tests.helpers.tiny import write_recipe

RUNS = Path(__file__).parents[2] / "runs"
RECIPES = sorted(RUNS.glob("*.yaml"))

BASE = """\
about: an example
tasks:
  - category
  - {task: sst2, data: fewshot, splits: [13, 21], label_words: {negative: bad, positive: good}}
models: [microworld, {lm: other, readers: [microworld], memory: 4GB}]
weights: [0, 0.1]
lm_tokens: 5000
options: {pez: {steps: 7}, rl: {entropy: 0.2}}
"""

TWO = """
studies:
  long:
    lm_tokens: null
  few:
    optimizers: [empty, pez]
    tasks: [plural]
"""


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., list[PlannedStudy]]:
    """Plans a recipe given as text."""

    def make(text: str, *overrides: str) -> list[PlannedStudy]:
        (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
        return planned_studies(read_recipe(tmp_path / "r.yaml", overrides))

    return make


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny models, a task, and a recipe of two studies on it."""
    folder = tmp_path_factory.mktemp("base")
    write_recipe(folder, studies={"one": {}, "other": {"optimizers": ["pez"], "seeds": [2], "prompt_length": 2}})
    return folder


@pytest.fixture(scope="module")
def in_one(base: Path) -> Path:
    """The folder of the recipe's studies, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardprompt.report.plot.draw_tradeoff", lambda points, found, weights, file: file.touch())
        hardprompt.run(base / "r.yaml", base / "in-one", jobs=1)
    return base / "in-one"


def results(folder: Path) -> dict[str, list[Any]]:
    """Every recorded value except the seconds, in the order of the plan."""
    found = {}
    for file in sorted(folder.glob("*/study.yaml")):
        found[file.parent.name] = [{**point, "seconds": 0} for point in Store(file.parent).points()]
    return found


# Planned studies


def test_every_task_with_every_model(planned: Callable[..., list[PlannedStudy]]) -> None:
    """There is a request for each pair. Fields of a task or model replace those of the recipe, which replace the preset's."""
    requests = [study.request for study in planned(BASE)]
    assert [(r.task, r.lm) for r in requests] == [
        ("category", "microworld"), ("category", "other"), ("sst2", "microworld"), ("sst2", "other")
    ]  # fmt: skip
    assert [r.splits for r in requests] == [("default",)] * 2 + [("13", "21")] * 2
    assert [r.memory for r in requests] == ["2GB", "4GB"] * 2 and requests[1].readers == ("microworld",)
    assert all((r.weights, r.lm_tokens, r.seeds) == ((0.0, 0.1), 5000, (0, 1)) for r in requests)
    assert requests[2].label_words == {"negative": "bad", "positive": "good"} and not requests[0].label_words
    assert {study.variant for study in planned(BASE)} == {""}


def test_variants_replace_what_they_name(planned: Callable[..., list[PlannedStudy]]) -> None:
    """Each variant is planned with all studies, null removes the budget, and options of excluded optimizers are dropped."""
    studies = planned(BASE + TWO)
    assert [study.variant for study in studies] == ["long"] * 4 + ["few"] * 2
    assert {study.request.lm_tokens for study in studies[:4]} == {None}
    few = studies[-1].request
    assert (few.task, few.optimizers, few.lm_tokens, few.options) == ("plural", ("empty", "pez"), 5000, {"pez": {"steps": "7"}})


def test_overrides_take_precedence(planned: Callable[..., list[PlannedStudy]]) -> None:
    """`-o` reaches lists, options, entries and variants."""
    given = ("seeds=3,4", "pez.steps=9", "tasks.0.splits=x", "studies.few.weights=0.5", "models=microworld", "lm_tokens=null")
    studies = planned(BASE + TWO, *given)
    first, last = studies[0].request, studies[-1].request
    assert (first.seeds, first.splits, first.options["pez"], first.lm_tokens) == ((3, 4), ("x",), {"steps": "9"}, None)
    assert last.weights == (0.5,) and len(studies) == 3


def test_every_field_of_a_request_is_a_field_of_a_recipe() -> None:
    """Recipes have every field of a study's request, and each field has a description. A list as `lm` gives `other_lms`."""
    schema = RecipeFile.model_json_schema()
    parts = [schema, *(schema["$defs"][name] for name in ("TaskEntry", "ModelEntry", "Variant"))]
    said = {name: field for part in parts for name, field in part["properties"].items()}
    fields = set(StudyRequest.model_fields) - {"other_lms"}
    assert fields <= set(said)
    assert all(said[name].get("description") for name in fields - {"task", "lm"})


def test_the_default_memory_is_that_of_load_lm() -> None:
    """The request does not import the model's module, which needs torch, and repeats its default."""
    assert StudyRequest().memory == BUDGET


def test_the_saved_recipe_plans_the_same_studies(tmp_path: Path) -> None:
    """The recipe that is saved with the record includes the overrides and plans the same studies."""
    (tmp_path / "r.yaml").write_text(BASE + TWO, encoding="utf-8")
    recipe = read_recipe(tmp_path / "r.yaml", ["seeds=7", "lm_tokens=null"])
    (tmp_path / "kept.yaml").write_text(recipe.as_yaml(), encoding="utf-8")
    kept = read_recipe(tmp_path / "kept.yaml")
    assert [s.request for s in planned_studies(kept)] == [s.request for s in planned_studies(recipe)]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.name)
def test_published_recipes_can_be_run(file: Path) -> None:
    """Each recipe fits the schema, states its run time, and names existing tasks, optimizers and options."""
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    jsonschema.validate(said, recipe_schema())
    assert said["minutes"] > 0 and said["about"]
    for study in planned_studies(read_recipe(file)):
        load_optimizers(study.request)
        load_tasks(study.request)


def test_the_schema_is_valid_and_refuses_bad_recipes() -> None:
    """The schema is a valid JSON schema and refuses wrong names, types and options of installed optimizers."""
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(BASE + TWO), schema)
    wrong: dict[str, Any]
    for wrong in (
        {"taks": ["category"]},
        {"tasks": "category"},
        {"seeds": [-1]},
        {"seeds": ["one"]},
        {"tasks": [{"data": "x"}]},
        {"optimizers": ["pezz"]},
        {"options": {"pez": {"step": 3}}},
        {"studies": {"a": {"studies": {}}}},
        {"threads": 0},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


# Errors in recipes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("taks: [category]\n", r"r.yaml:1: no field 'taks'; did you mean 'tasks'\? Available: about, "),
        (BASE + "seed: [1]\n", r"r.yaml:9: no field 'seed'; did you mean 'seeds'\?"),
        ("tasks: category\n", r"r.yaml:1: tasks: expected a list, such as \[a, b\]; got 'category'"),
        ("tasks:\n  - category\n  - {tsk: plural}\n", r"r.yaml:3: no field 'tsk'; did you mean 'task'\?"),
        ("tasks:\n  - {data: x}\n", "r.yaml:2: the field 'tasks.0.task' is missing"),
        (BASE + "seeds: [0, one]\n", "r.yaml:9: seeds.1: expected an integer; got 'one'"),
        (BASE + "seeds: [0, 0]\n", "r.yaml:9: seeds: give at least one value, and each value once"),
        (BASE + "threads: 0\n", "r.yaml:9: threads: expected a number greater than 0; got '0'"),
        (BASE + "memory: 3\n", r"r.yaml:9: memory: give a size of at least 256MB"),
        (BASE.replace("4GB", "4"), r"r.yaml:5: memory: give a size"),
        (BASE.replace("lm_tokens: 5000", "lm_tokens: many"), "r.yaml:7: lm_tokens: expected an integer; got 'many'"),
        (
            BASE + "studies: {a b: {}}\n",
            r"r.yaml:9: studies.a b: expected text that matches the pattern \^\[A-Za-z0-9_-\]\+\$; got 'a b'",
        ),
        (BASE + TWO + "    sedes: [1]\n", r"r.yaml:16: no field 'sedes'; did you mean 'seeds'\?"),
        (BASE + TWO + "    weights: [-1]\n", "r.yaml:16: weights: a weight must be"),
        ("about: nothing\n", "r.yaml:?1?: no task is given; name at least one"),
        ("- a\n- b\n", "r.yaml:1: expected fields"),
        ("tasks: [a\n", "r.yaml:2: not valid YAML"),
        ("tasks: &x [a]\n", "r.yaml:1: &x: .*anchors and aliases are not"),
        ('a: "\\UFFFFFFFF"\n', "r.yaml: not valid YAML: "),
        ("a: !!python/object/apply:os.system [ls]\n", "r.yaml:1: .*tags are not allowed"),
    ],
)
def test_errors_of_a_recipe_are_reported_with_their_line(
    text: str, says: str, planned: Callable[..., list[PlannedStudy]]
) -> None:
    """The error has one line with the place, the expected value and the nearest known name."""
    with pytest.raises(RequestError, match=says) as error:
        planned(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seeds", "-o 'seeds' is not of the form a.b=c"),
        ("seed=1", "no recipe field 'seed'; did you mean 'seeds'"),
        ("seeds=one", "-o seeds=one: seeds.0: expected an integer"),
        ("tasks.9.data=x", "-o tasks.9.data=x: tasks has 2 items, numbered from 0; got '9'"),
        ("lm_tokens.a=1", "-o lm_tokens.a=1: lm_tokens has no fields"),
        ("tasks.0.dta=x", "-o tasks.0.dta=x: no field 'dta'; did you mean 'data'"),
    ],
)
def test_a_wrong_override_is_reported(override: str, says: str, planned: Callable[..., list[PlannedStudy]]) -> None:
    with pytest.raises(RequestError, match=says):
        planned(BASE, override)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("tasks=plurel", "-o tasks=plurel: no task 'plurel'; did you mean 'plural'"),
        ("models=./none", "-o models=./none: no model folder ./none"),
        ("optimizers=pez,pezz", "-o optimizers=pez,pezz: no optimizer 'pezz'; did you mean 'pez'"),
        ("pez.step=3", "-o pez.step=3: no pez option 'step'; did you mean 'steps'"),
        ("vocabulary=wrods", "-o vocabulary=wrods: no vocabulary 'wrods'; did you mean 'words'"),
    ],
)
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_recipe_that_cannot_run_is_refused_before_it_starts(
    override: str, says: str, jobs: int, base: Path, tmp_path: Path
) -> None:
    """Unknown names are refused with their place by every engine, and no folder is created."""
    with pytest.raises(RequestError, match=says):
        hardprompt.run(read_recipe(base / "r.yaml", [override]), tmp_path / "out", jobs=jobs)
    assert not (tmp_path / "out").exists()


def test_two_studies_with_the_same_folder_are_refused(base: Path, tmp_path: Path) -> None:
    """The same task named twice cannot share a record."""
    said = yaml.safe_load((base / "r.yaml").read_text(encoding="utf-8"))
    (tmp_path / "r.yaml").write_text(json.dumps(said | {"tasks": said["tasks"] * 2}), encoding="utf-8")
    with pytest.raises(RequestError, match=r"would share the folder .*mood-tiny-one"):
        hardprompt.run(tmp_path / "r.yaml", tmp_path / "out", jobs=1)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 10**12), st.floats(), st.text(max_size=6))
KEYS = st.one_of(st.sampled_from([*RecipeFile.model_fields, "task", "lm", "data", "pez"]), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@settings(max_examples=150, deadline=None)
@given(said=st.dictionaries(KEYS, VALUES, max_size=5), noise=st.text(max_size=8), at=st.integers(0, 200))
def test_any_recipe_is_read_or_refused_in_one_line(
    said: dict[str, Any], noise: str, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any YAML, with any noise in it: studies, or one line that begins with the file."""
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    text = yaml.safe_dump(said, allow_unicode=True)
    file.write_bytes((text[:at] + noise + text[at:]).encode(errors="replace"))
    try:
        studies = planned_studies(read_recipe(file))
    except RequestError as error:
        assert str(error).startswith(str(file)) and "\n" not in str(error)
    else:
        assert all(isinstance(study.request, StudyRequest) for study in studies)


# Running


def test_a_recipe_gives_the_same_points_as_compare(base: Path, in_one: Path, tmp_path: Path, no_plot: None) -> None:
    """Each study has a folder with the same points as `compare` gives for the same request."""
    assert sorted(path.name for path in in_one.iterdir()) == ["mood-tiny-one", "mood-tiny-other", "recipe.yaml"]
    for study in planned_studies(read_recipe(base / "r.yaml")):
        compare(study.request, tmp_path / f"mood-tiny-{study.variant}")
    assert results(tmp_path) == results(in_one)
    assert {name: len(points) for name, points in results(in_one).items()} == {"mood-tiny-one": 12, "mood-tiny-other": 2}


def test_the_output_of_an_optimizer_is_not_in_the_json_answer(base: Path, tmp_path: Path, no_plot: None, ask: Ask) -> None:
    """With `--json` stdout contains only the JSON."""
    (tmp_path / "mine.py").write_text(
        "import hardprompt\n\n\nclass Options(hardprompt.Config):\n    pass\n\n\n"
        "@hardprompt.optimizer('loud', config=Options, uses_weight=False)\ndef loud(problem, config):\n    'Talks.'\n"
        "    print('not JSON')\n    problem.score_on_dev([[1, 2]])\n    return [[1, 2]]\n"
    )
    asked = ["-o", f"optimizers={tmp_path / 'mine.py'}:loud", "-o", "studies=null", "--jobs", "1", "--json"]
    status, out, said = ask(["run", str(base / "r.yaml"), *asked, "--out", str(tmp_path / "out")])
    assert status == 0 and len(json.loads(out)["studies"][0]["points"]) == 2, said
    assert "not JSON" in said


def test_another_number_of_threads_gives_a_warning(base: Path, tmp_path: Path, no_plot: None) -> None:
    """A study that resumes with another number of threads may differ in its last bits, and a warning tells this."""
    notes: list[str] = []

    class Watch(SilentListener):
        def noted(self, text: str) -> None:
            notes.extend([text] if "threads" in text else [])

    short = ["studies=null", "optimizers=empty", "seeds=0"]
    hardprompt.run(read_recipe(base / "r.yaml", short), tmp_path / "out", Watch(), jobs=1)
    assert notes == [] and Store(tmp_path / "out" / "mood-tiny").study["threads"] == 1
    hardprompt.run(read_recipe(base / "r.yaml", [*short, "threads=2"]), tmp_path / "out", Watch(), jobs=1)
    assert notes == [
        f"{tmp_path / 'out' / 'mood-tiny'} was created with 1 threads per run and continues with 2: last bits may differ"
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_several_processes_give_the_same_points(base: Path, in_one: Path, tmp_path: Path) -> None:
    """Points, vectors of soft prompts and derived files are equal bit for bit, whichever process ran which run."""
    hardprompt.run(base / "r.yaml", tmp_path / "out", jobs=3)
    assert results(tmp_path / "out") == results(in_one)
    for file in in_one.rglob("*"):
        if file.suffix in (".safetensors", ".json", ".yaml"):
            assert (tmp_path / "out" / file.relative_to(in_one)).read_bytes() == file.read_bytes(), file


@pytest.mark.usefixtures("no_plot")
def test_recorded_runs_are_not_repeated(base: Path, in_one: Path) -> None:
    """The same recipe runs nothing again. A different recipe in the same folder is refused, and nothing changes."""

    class Watch(SilentListener):
        jobs: Any = None

        def planned(self, folder: Path, jobs: Any, recorded: int) -> None:
            self.jobs, self.recorded = jobs, recorded

    watch, before = Watch(), results(in_one)
    ended = hardprompt.run(base / "r.yaml", in_one, watch, jobs=1)
    assert (watch.jobs, watch.recorded, ended.left, ended.failed, ended.stopped) == ([], 14, 0, 0, "")
    with pytest.raises(StudyError, match=r"holds another study .*weights"):
        hardprompt.run(read_recipe(base / "r.yaml", ["weights=0,0.3"]), in_one, jobs=1)
    assert results(in_one) == before


def test_the_run_command_prints_a_table_or_json(base: Path, here: Path, ask: Ask, no_plot: None) -> None:
    """It prints a table for each study or one JSON object. The default folder is named after the recipe."""
    few = [str(base / "r.yaml"), "--jobs", "1", "-o", "studies.one.optimizers=empty,manual", "-o", "seeds=0"]
    status, out, err = ask(["run", *few])
    assert (status, err) == (0, "") and out.count("mood on tiny") == 2 and "6 runs in hardprompt-out/r" not in out
    assert "are in hardprompt-out/r (a folder for each study)" in out
    status, out, err = ask(["run", *few, "--json"])
    answer = json.loads(out)
    assert status == 0 and (answer["left"], answer["stopped"]) == (0, "") and "already recorded" in err
    assert [(study["folder"], len(study["points"])) for study in answer["studies"]] == [
        ("hardprompt-out/r/mood-tiny-one", 2),
        ("hardprompt-out/r/mood-tiny-other", 2),
    ]


def test_the_run_command_prints_the_schema(here: Path, ask: Ask) -> None:
    """`run --schema` prints the schema of the recipe fields."""
    status, out, err = ask(["run", "--schema"])
    assert (status, err) == (0, "") and json.loads(out) == json.loads(json.dumps(recipe_schema()))


# Number of processes


def opened(device: str | None = None, memory: str = "1GB", weights: int = 0) -> StudyInfo:
    return StudyInfo(StudyRequest(device=device, memory=memory), (), "t", "m", {}, (), 10, weight_bytes=weights)


GB = 1 << 30


@pytest.mark.parametrize(
    ("asked", "machine", "studies", "threads", "count", "says"),
    [
        (None, MachineResources(8, 100 * GB), [opened()], 1, 8, ""),
        (None, MachineResources(8, 100 * GB), [opened()], 4, 2, ""),
        (None, MachineResources(8, 4 * GB), [opened(weights=GB), opened()], 1, 1, ""),
        (3, MachineResources(8, 4 * GB), [opened(weights=GB)], 1, 1, "1 processes instead of 3: each may take 2.5 GB"),
        (50, MachineResources(8, 100 * GB), [opened()], 1, 20, ""),
        (16, MachineResources(8, 100 * GB), [opened()], 1, 16, ""),
        (None, MachineResources(8, GB // 2), [opened()], 1, 1, ""),
        (None, MachineResources(8, GB, ("0", "1")), [opened(memory="40GB")], 1, 2, ""),
        (4, MachineResources(8, GB, ("0", "1")), [opened("cuda")], 1, 2, "2 processes instead of 4: there are 2 GPUs"),
        (None, MachineResources(8, 100 * GB, ("0", "1")), [opened("cpu")], 1, 8, ""),
        (4, MachineResources(8, 100 * GB, ("0", "1")), [opened("cuda:1")], 1, 1, "names a single device (cuda:1)"),
        (2, MachineResources(8, 100 * GB), [opened("mps")], 1, 1, "names a single device (mps)"),
    ],
)  # fmt: skip
def test_the_number_of_processes_fits_cores_and_memory(
    asked: int | None, machine: MachineResources, studies: list[StudyInfo], threads: int, count: int, says: str
) -> None:
    """Limits are the cores, the memory for weights and budget of each process, the GPUs, and the number of runs, here 20."""
    found, why = process_count(asked, machine, studies, 20, threads)
    assert found == count and (says in why if says else why == "")
