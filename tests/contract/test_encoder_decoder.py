"""The contract of encoder-decoder models: every optimizer, layout and kind of task, against plain forward passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hardprompt.adapter import write_adapter
from hardprompt.data.task import Example, Task
from hardprompt.errors import ContextExceeded, LMError, RequestError
from hardprompt.lm import EncoderDecoderLM, allowed_vocabulary, load_lm, surprisals
from hardprompt.optimizers import Problem, all_optimizers, load_optimizer, run_optimizer
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer, Scores
from hardprompt.study.measure import finite, measure
from tests.helpers import Ask
from tests.helpers.tiny import ENCODER_DECODER, save_tiny, tiny_lm, tiny_task, write_jsonl

START = {"t5": [1], "bart": [2, 0]}
"""The tokens that the decoder reads first: padding for T5, and the end and the start of a text for BART."""

of_every_family = pytest.mark.parametrize("family", ENCODER_DECODER)
of_every_kind = pytest.mark.parametrize("kind", ["classification", "generation"])
in_both_layouts = pytest.mark.parametrize("prompt_first", [False, True], ids=["input-first", "prompt-first"])


WORDS = {"positive": "a", "negative": "b"}
"""Label words that are one token at the beginning of a text."""


def task_of(kind: str = "classification", prompt_first: bool = False, **fields: Any) -> Task:
    return tiny_task(kind, prompt_first, **({"label_words": WORDS} if kind == "classification" else {}) | fields)


def plain_logits(lm: EncoderDecoderLM, start: list[int], task: Task, example: Example, prompt: str, answer: list[int]) -> Any:
    """The logits (A + 1, V) of the decoder at the last start token and at each token of an answer."""
    read = torch.tensor([lm.tokenizer(task.template.fill(example.input, prompt))["input_ids"]])
    decoded = torch.tensor([[*start, *answer]])
    with torch.no_grad():
        return lm.model(input_ids=read, decoder_input_ids=decoded).logits[0, len(start) - 1 :]


def label_logits(scores: Scores) -> torch.Tensor:
    assert scores.label_logits is not None
    return scores.label_logits[0]


@of_every_family
def test_the_decoder_starts_as_the_family_does(family: str, tmp_path: Path) -> None:
    lm = load_lm(str(save_tiny(tmp_path, family)), device="cpu")
    assert isinstance(lm, EncoderDecoderLM) and lm.start_ids == START[family] and not lm.shares_prefixes
    assert lm.prefix_ids + lm.suffix_ids == lm.tokenizer("")["input_ids"]


def test_a_forced_token_follows_the_start_token() -> None:
    model = tiny_lm("bart").model
    try:
        model.generation_config.forced_bos_token_id = 7
        assert EncoderDecoderLM(model, tiny_lm("bart").tokenizer, "forced").start_ids == [2, 7]
    finally:
        model.generation_config.forced_bos_token_id = None


@of_every_family
@in_both_layouts
def test_label_words_have_the_logits_of_the_plain_forward_pass(family: str, prompt_first: bool) -> None:
    """Rows of different length go through the model together."""
    lm: Any = tiny_lm(family)
    task = task_of(prompt_first=prompt_first)
    scorer = Scorer(lm, task, task.train)
    words = [lm.encode(word)[0] for word in task.label_words.values()]
    for text in ("good film", "the cat sat on a mat", ""):
        prompt = HardPrompt.in_place(lm, task.template, text)
        expected = torch.stack([plain_logits(lm, START[family], task, each, text, [])[0, words] for each in task.train])
        ids = scorer.score_ids([prompt.ids])
        torch.testing.assert_close(label_logits(ids), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(label_logits(scorer.score_text(text)), expected, rtol=1e-4, atol=1e-4)
        if prompt.ids:
            embeds = lm.vocab_embeds[list(prompt.ids)].clone().requires_grad_()
            soft = scorer.score_embeds(embeds)
            torch.testing.assert_close(label_logits(soft), expected, rtol=1e-4, atol=1e-4)
            (gradient,) = torch.autograd.grad(soft.loss.mean(), embeds)
            direction, step = torch.ones_like(embeds), 1e-3
            up, down = (float(scorer.score_embeds(embeds.detach() + s * direction).loss.mean()) for s in (step, -step))
            assert float(gradient.sum()) == pytest.approx((up - down) / (2 * step), rel=3e-2, abs=5e-3)


@of_every_family
def test_generated_answers_have_the_loss_and_the_greedy_text_of_transformers(family: str) -> None:
    lm: Any = tiny_lm(family)
    task = tiny_task("generation", match="starts-with")
    said = []
    for example in task.train:
        ids: list[int] = []
        for _ in range(3):
            ids.append(int(plain_logits(lm, START[family], task, example, "good", ids)[-1].argmax()))
        said.append(Example(example.input, lm.decode(ids).strip().split("\n")[0]))
    own = [example for example in said if example.answer and "\ufffd" not in example.answer]
    assert own
    task = tiny_task("generation", match="starts-with", train=[*own, Example("bad food", "never said")])
    scores = Scorer(lm, task, task.train).score_text("good")
    assert scores.correct[0].tolist() == [True] * len(own) + [False]
    for example, loss in zip(task.train, scores.loss[0], strict=True):
        answer = lm.encode(example.answer)
        log_probs = plain_logits(lm, START[family], task, example, "good", answer).log_softmax(-1)
        assert float(loss) == pytest.approx(-sum(float(log_probs[t, token]) for t, token in enumerate(answer)), rel=1e-4)


@pytest.mark.parametrize("name", sorted(all_optimizers()))
@of_every_family
@of_every_kind
@pytest.mark.parametrize(
    "prompt_first", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["input-first", "prompt-first"]
)
def test_every_optimizer_runs_and_its_prompt_can_be_measured(name: str, family: str, kind: str, prompt_first: bool) -> None:
    lm, found = tiny_lm(family), load_optimizer(name)
    target = lm.decode(allowed_vocabulary(lm)[:3].tolist())
    options: dict[str, Any] = {"rl": {"rollout": 4}, "rlprompt": {"rollout": 4}, "wayward": {"target": target}}
    problem = Problem(task_of(kind, prompt_first), lm, prompt_length=3, lm_tokens=600)
    config = found.configure(options.get(name, {}))
    try:
        found.check(problem, config)
    except RequestError as refusal:
        pytest.skip(str(refusal))
    result = run_optimizer(found, problem, config)
    point = finite(measure(problem, result, readers=[tiny_lm("gpt2")]))
    assert point["status"] == "ok" and point["log_perplexity"] is None
    assert "encoder-decoder" in point["scrutability"]["reason"]
    if point["prompt_ids"]:
        assert point["reader_log_perplexity"] > 0 and point["scrutability"]["distinct_tokens"]
    if isinstance(result.best.prompt, SoftPrompt):
        assert min(point["faithfulness"][gap] for gap in ("distance_cosine", "output_gap", "loss_gap", "kl")) > -1e-6
    elif found.uses_vocabulary:
        assert point["roundtrip_ok"]


@of_every_family
def test_a_prompt_has_no_probability(family: str) -> None:
    lm = tiny_lm(family)
    assert surprisals(lm, [lm.encode("good film")])[0].isnan().all()
    with pytest.raises(RequestError, match=r"the weight is 0\.1, but tiny-.* is an encoder-decoder model"):
        Problem(task_of(), lm, weight=0.1)
    with pytest.raises(RequestError, match="adapters are written for causal models only"):
        write_adapter(HardPrompt.from_text(lm, "good"), lm, tiny_task(prompt_first=True).template, "adapter")


def test_a_text_or_an_answer_longer_than_the_context_is_refused() -> None:
    lm = tiny_lm("bart")
    for example in (Example("cat " * 70, "good"), Example("cat", "good film " * 40)):
        task = tiny_task("generation", train=[example], truncate_to="")
        with pytest.raises(ContextExceeded, match=r"but the context of tiny-bart is 64"):
            Scorer(lm, task, task.train).score_ids([allowed_vocabulary(lm)[:2].tolist()])


def test_a_model_without_a_start_token_is_refused() -> None:
    model = tiny_lm("t5").model
    kept = {name: getattr(model.config, name) for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id")}
    generation = model.generation_config.to_dict()
    try:
        for name in kept:
            setattr(model.config, name, None)
            setattr(model.generation_config, name, None)
        with pytest.raises(LMError, match="names no decoder_start_token_id"):
            EncoderDecoderLM(model, tiny_lm("t5").tokenizer, "odd")
    finally:
        for name, value in kept.items():
            setattr(model.config, name, value)
            setattr(model.generation_config, name, generation.get(name))


def test_a_study_on_an_encoder_decoder_model(ask: Ask, here: Path) -> None:
    write_jsonl(tiny_task(), here / "mood.jsonl")
    (here / "task.yaml").write_text(
        yaml.safe_dump(
            {
                "template": "{input} {prompt} :",
                "data": "mood.jsonl",
                "label_words": WORDS,
                "reference_prompts": ["good or bad"],
            }
        ),
        encoding="utf-8",
    )
    save_tiny(here / "t5", "t5")
    save_tiny(here / "reader", "gpt2")
    study = ["compare", "--task", "task.yaml", "--lm", "t5", "--seeds", "0", "--lm-tokens", "2000", "--prompt-length", "3"]
    code, _, err = ask([*study, "--weights", "0.1", "--out", "weighted"])
    assert code == 2 and "is an encoder-decoder model" in err and "use the weight 0" in err
    code, out, err = ask([*study, "--weights", "0", "--reader", "reader", "--out", "study"])
    assert code == 0 and "manual" in out, err
    code, _, err = ask(["inspect", "--lm", "t5", "--text", "good film"])
    assert code == 0, err
    code, _, err = ask(["compare", "--task", "task.yaml", "--lm", "reader", "--reader", "t5", "--out", "read"])
    assert code == 2 and "is an encoder-decoder model, which assigns no probability to a text" in err
