"""The contract of models and optimizers. Every registered optimizer is tested on every kind of model.

The models are tiny random models of each architecture, and the small real models beside the project. Optimizers that are not
registered are named in an environment variable:
`HARDPROMPT_OPTIMIZERS="path.py:name" python -m pytest tests/contract/test_contract.py`.
"""

import json
import os
from functools import cache
from typing import Any

import pytest
import torch

from hardprompt.data.task import Task, Template
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM, allowed_vocabulary, load_lm, log_perplexity, projected_nll, surprisals
from hardprompt.optimizers import Optimizer, Problem, PromptResult, all_optimizers, load_optimizer, run_optimizer
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer
from hardprompt.study.measure import finite, measure
from tests.helpers import SHARED
from tests.helpers.plain import plain_nll, plain_score
from tests.helpers.tiny import CAUSAL, FAMILIES, MASKED, pieces, tiny_lm, tiny_task

REAL = ("stories260k", "english-mini", "english-mini-reader")
MODELS = (*FAMILIES, *REAL)
Run = tuple[Optimizer[Any], Problem, PromptResult]

LM_TOKENS = 600
"""The budget, which ends every search after a few steps."""

OPTIONS: dict[str, dict[str, Any]] = {"rl": {"rollout": 4}, "rlprompt": {"rollout": 4}, "wayward": {"batch_size": 3}}
"""Options that make runs faster, and the seed of `wayward` matter."""

OPTIMIZERS = [*sorted(all_optimizers()), *os.environ.get("HARDPROMPT_OPTIMIZERS", "").split()]
GENERATING = [(name, "generation") for name in (*CAUSAL, *REAL)]
KINDS = [(name, "classification") for name in MODELS] + GENERATING
FAST = (
    ("gpt2", "classification"),
    ("gpt2", "generation"),
    ("llama", "generation"),
    ("no-bos", "classification"),
    ("roberta", "classification"),
)
"""The kinds of models and tasks in the default tests; the others are slow tests."""
of_every_kind = pytest.mark.parametrize(
    ("model", "kind"), [pytest.param(*each, marks=[] if each in FAST else [pytest.mark.slow]) for each in KINDS]
)
in_both_layouts = pytest.mark.parametrize("prompt_first", [False, True], ids=["input-first", "prompt-first"])


@cache
def lm_of(model: str) -> FrozenLM:
    if model in FAMILIES:
        return tiny_lm(model)
    folder = SHARED / "models" / model
    if not folder.is_dir():
        pytest.skip(f"the model {model} is not beside the project (../shared/models)")
    return load_lm(str(folder), device="cpu")


@cache
def allowed_of(lm: FrozenLM) -> torch.Tensor:
    return allowed_vocabulary(lm)


def task_of(lm: FrozenLM, kind: str = "classification", prompt_first: bool = False, **fields: Any) -> Task:
    """The tiny task with label words that the model has."""
    words = lm.decode(allowed_of(lm)[-2:].tolist()).split()
    if kind == "classification":
        fields = {"label_words": dict(zip(("positive", "negative"), words, strict=True))} | fields
    return tiny_task(kind, prompt_first, **fields)


def words_of(lm: FrozenLM, count: int) -> list[int]:
    return allowed_of(lm)[20 : 20 + count].tolist()


def run_of(name: str, lm: FrozenLM, kind: str = "classification", prompt_first: bool = False, seed: int = 0) -> Run:
    """A short run of an optimizer. A plug-in has its default options. If it refuses the model, the test is skipped."""
    found = load_optimizer(name)
    options = OPTIONS.get(name, {}) | ({"target": lm.decode(words_of(lm, 3))} if name == "wayward" else {})
    problem = Problem(
        task_of(lm, kind, prompt_first),
        lm,
        vocabulary=allowed_of(lm),
        prompt_length=3,
        weight=0.2,
        seed=seed,
        lm_tokens=LM_TOKENS,
    )
    config = found.configure(options)
    try:
        found.check(problem, config)
    except RequestError as refusal:
        pytest.skip(str(refusal))
    return found, problem, run_optimizer(found, problem, config)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_option_has_a_description(name: str) -> None:
    fields = load_optimizer(name).config.model_fields
    assert not [option for option, field in fields.items() if not field.description]


@pytest.mark.parametrize("name", OPTIMIZERS)
@in_both_layouts
@of_every_kind
def test_the_result_is_the_best_candidate_and_can_be_measured(name: str, prompt_first: bool, model: str, kind: str) -> None:
    lm = lm_of(model)
    found, problem, result = run_of(name, lm, kind, prompt_first)
    assert result.best.dev_objective == min(candidate.dev_objective for candidate in result.candidates)
    first = next(candidate for candidate in result.candidates if candidate.dev_objective == result.best.dev_objective)
    assert result.best is first, "the earliest on ties"
    assert result.final_prompts and result.lm_tokens_forward > 0
    point = finite(measure(problem, result, readers=[lm]))
    assert point["status"] == "ok" and 0 <= point["deployed_test_accuracy"] <= 1
    assert point["prompt_text"] == lm.decode(point["prompt_ids"])
    if isinstance(result.best.prompt, HardPrompt):
        assert point["faithfulness"].pop("reason") and set(point["faithfulness"].values()) == {None}
        assert point["test_accuracy"] == pytest.approx(point["deployed_test_accuracy"]) or not point["roundtrip_ok"]
    else:
        assert min(point["faithfulness"][gap] for gap in ("distance_cosine", "output_gap", "loss_gap", "kl")) > -1e-6
    if found.uses_vocabulary:
        hard = [*(candidate.prompt for candidate in result.candidates), *result.final_prompts]
        assert {token for prompt in hard if isinstance(prompt, HardPrompt) for token in prompt.ids} <= set(
            allowed_of(lm).tolist()
        )
        assert point["roundtrip_ok"], "the text of allowed words has the same tokens in its place"
        assert point["reader_log_perplexity"] == pytest.approx(point["log_perplexity"], rel=1e-3)
        assert point["scrutability"]["whole_word_share"] == 1
    assert all(parameter.grad is None for parameter in lm.model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("model", ["gpt2", "roberta"])
def test_the_result_depends_on_the_seed_alone(name: str, model: str) -> None:
    """The same seed gives the same result, whatever ran before; another seed gives another one if the optimizer uses it."""
    lm = tiny_lm(model)

    def signature(seed: int) -> str:
        _, problem, result = run_of(name, lm, seed=seed)
        point = measure(problem, result) | {"seconds": 0, "seed": 0}
        return json.dumps([point, [candidate.dev_objective for candidate in result.candidates]])

    first = signature(0)
    torch.manual_seed(123)
    torch.rand(7)
    assert signature(0) == first
    assert (signature(1) != first) == load_optimizer(name).uses_seed


@in_both_layouts
@pytest.mark.parametrize(
    ("model", "kind", "match"), [(*each, "exact") for each in KINDS] + [(*each, "starts-with") for each in GENERATING]
)
def test_batched_scores_equal_scores_of_single_pairs(model: str, kind: str, match: str, prompt_first: bool) -> None:
    """The reference scores one unpadded pair at a time with Hugging Face.

    Prompts, also the empty one, are given as ids and as text.
    """
    lm = lm_of(model)
    task = task_of(lm, kind, prompt_first, match=match)
    scorer = Scorer(lm, task, task.train[:3])
    prompts = [words_of(lm, 3), [], words_of(lm, 1)]
    scores = scorer.score_ids(prompts)
    for p, prompt in enumerate(prompts):
        expected = [plain_score(lm, task, example, prompt) for example in scorer.examples]
        assert scores.loss[p].tolist() == pytest.approx([loss for loss, _ in expected], rel=1e-3, abs=1e-3)
        assert scores.correct[p].tolist() == [right for _, right in expected]
        torch.testing.assert_close(scorer.score_text(lm.decode(prompt)).loss[0], scores.loss[p], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "template",
    ["{mask} {prompt} {input}", "{mask}: {prompt} of {input}", "({mask}) {input} {prompt}", "{prompt} {mask} {input}"],
)
@pytest.mark.parametrize("model", MASKED)
def test_the_mask_can_be_anywhere_in_the_template(model: str, template: str) -> None:
    lm = tiny_lm(model)
    task = tiny_task(masked_template=Template(template), label_words={"positive": "a", "negative": "b"})
    prompts = [words_of(lm, 2), []]
    scorer = Scorer(lm, task, task.train)
    scores = scorer.score_ids(prompts)
    for p, prompt in enumerate(prompts):
        expected = [plain_score(lm, task, example, prompt)[0] for example in task.train]
        assert scores.loss[p].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert scorer.survives(prompts[0], lm.decode(prompts[0]))


@of_every_kind
def test_a_hard_prompt_and_its_embeddings_have_the_same_scores(model: str, kind: str) -> None:
    lm = lm_of(model)
    for prompt_first in (False, True):
        task, ids = task_of(lm, kind, prompt_first), words_of(lm, 3)
        scorer = Scorer(lm, task, task.train)
        by_ids, by_embeds = scorer.score_ids([ids]), scorer.score_embeds(lm.vocab_embeds[ids])
        torch.testing.assert_close(by_ids.loss, by_embeds.loss, rtol=1e-4, atol=1e-4)
        assert torch.equal(by_ids.correct, by_embeds.correct)
        unpadded = torch.cat([scorer.score_ids([ids], [n]).loss for n in range(len(task.train))], 1)
        torch.testing.assert_close(by_ids.loss, unpadded, rtol=1e-4, atol=1e-4)
        of_ids, of_embeds = scorer.next_token_logits(ids), scorer.next_token_logits(lm.vocab_embeds[ids])
        torch.testing.assert_close(of_ids, of_embeds, rtol=1e-4, atol=1e-4)


@of_every_kind
def test_the_gradient_agrees_with_finite_differences(model: str, kind: str) -> None:
    lm = lm_of(model)
    task = task_of(lm, kind)
    scorer = Scorer(lm, task, task.train)
    embeds = lm.vocab_embeds[words_of(lm, 3)].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scorer.score_embeds(embeds).loss.mean(), embeds)
    generator = torch.Generator().manual_seed(0)
    step = 1e-3
    for _ in range(3):
        direction = torch.randn(embeds.shape, generator=generator)
        up, down = (float(scorer.score_embeds(embeds.detach() + s * direction).loss.mean()) for s in (step, -step))
        assert float((gradient * direction).sum()) == pytest.approx((up - down) / (2 * step), rel=3e-2, abs=5e-3)
    assert all(parameter.grad is None for parameter in lm.model.parameters())


@pytest.mark.parametrize("model", MODELS)
def test_log_perplexity_agrees_with_hugging_face(model: str) -> None:
    lm = lm_of(model)
    prompts = [words_of(lm, 4), words_of(lm, 9), lm.encode("it was a lovely film")]
    expected = [plain_nll(lm, ids) for ids in prompts]
    assert [log_perplexity(lm, ids) for ids in prompts] == pytest.approx(expected, rel=1e-3)
    together = surprisals(lm, [*prompts, []])
    assert [float(each.nanmean()) for each in together[:-1]] == pytest.approx(expected, rel=1e-3)
    assert [len(each) for each in together] == [*map(len, prompts), 0]
    for two_sided in (False, True):
        ids = torch.tensor(prompts[0])
        assert float(projected_nll(lm, lm.vocab_embeds[ids], ids, two_sided)) == pytest.approx(expected[0], rel=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_allowed_words_survive_the_round_trip_and_word_pieces_do_not(model: str) -> None:
    lm = lm_of(model)
    allowed = allowed_of(lm)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        ids = allowed[torch.randint(len(allowed), (5,), generator=generator)].tolist()
        text = lm.decode(ids)
        assert lm.encode_after([" " + text.strip()])[0] == ids
        assert all(word.isalpha() for word in text.split())
    for prompt_first in (False, True):
        task = task_of(lm, prompt_first=prompt_first)
        scorer = Scorer(lm, task, task.train)
        assert scorer.survives(ids, text) and scorer.survives([], "")
        if model in FAMILIES:
            assert not scorer.survives(pieces(lm), lm.decode(pieces(lm)))
