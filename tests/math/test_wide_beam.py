"""The reader `wide-beam`: what it finds on the embedded model, and each part of the search by hand on tiny models."""

from typing import Any

import pytest
import torch

from hardprompt import Template, load_task
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.readings import Reader, ReadingProblem, load_reader, nearest, run_reader, wide_beam
from hardprompt.readings.wide_beam import QUESTIONS, WideBeamConfig, _Search, chats
from tests.helpers.chat import chat_lm
from tests.helpers.tiny import ENCODER_DECODER, MASKED, tiny_lm, tiny_task


def problem_of(lm: FrozenLM, target: list[int] | None = None, **fields: Any) -> ReadingProblem:
    """The reading of a tiny prompt on three inputs."""
    ids = lm.encode_after([" good or bad"])[0] if target is None else target
    task = fields.pop("task", tiny_task())
    return ReadingProblem(
        HardPrompt.from_ids(lm, ids), task, lm, ["the dog", "bad food", "a mat"], **{"max_length": 3} | fields
    )


def planted(microworld: FrozenLM, text: str, noise: float = 0.1, **fields: Any) -> ReadingProblem:
    """The reading of the embeddings of an instruction with noise, whose size is given in standard deviations of embeddings."""
    task = load_task("plural")
    embeds = microworld.embed(torch.tensor(microworld.encode(text)))
    moved = embeds + noise * embeds.std() * torch.randn(embeds.shape, generator=torch.Generator().manual_seed(1))
    inputs = [example.input for example in task.dev[:4]]
    given: dict[str, Any] = {"weight": 0.03, "vocabulary": "words", "max_length": 6, "lm_tokens": 12_000}
    return ReadingProblem(SoftPrompt(moved), task, microworld, inputs, **given | fields)


def texts_of(problem: ReadingProblem) -> list[tuple[int, ...]]:
    return [candidate.prompt.ids for candidate in problem.candidates if isinstance(candidate.prompt, HardPrompt)]


@pytest.fixture(scope="module")
def read(microworld: FrozenLM) -> ReadingProblem:
    """The reading of a planted instruction."""
    problem = planted(microworld, "give the plural")
    run_reader(wide_beam, problem)
    return problem


def test_it_recovers_what_a_planted_instruction_does(read: ReadingProblem) -> None:
    best = read.best
    assert best is not None and isinstance(best.prompt, HardPrompt)
    assert best.dev_task_loss < 0.3 and best.dev_accuracy > 0.8 and "plural" in best.prompt.text
    assert all(1 <= len(ids) <= 6 for ids in texts_of(read))


def test_it_is_closer_than_the_nearest_tokens(microworld: FrozenLM) -> None:
    """With much noise the nearest tokens are still those of the instruction, and the answers are others."""
    losses = []
    methods: list[Reader[Any]] = [nearest, wide_beam]
    for method in methods:
        problem = planted(microworld, "give the plural", noise=1.0, lm_tokens=4_000, max_length=3)
        run_reader(method, problem)
        losses.append(min(candidate.dev_task_loss for candidate in problem.candidates))
    assert losses[1] < 0.3 * losses[0]


def test_the_same_seed_gives_the_same_texts() -> None:
    found = []
    for seed in (0, 0, 1):
        search = _Search(problem_of(tiny_lm("gpt2"), seed=seed), WideBeamConfig(beams=4, proposals=3))
        search.grow()
        found.append((search.scored_on_dev(), [*search.totals.items()]))
    assert found[0] == found[1] != found[2]


def test_the_budget_is_respected(read: ReadingProblem) -> None:
    assert read.lm_tokens and 0.8 * read.lm_tokens < read.spent < 1.2 * read.lm_tokens


@pytest.mark.parametrize("family", ["gpt2", "no-bos", "llama"])
@pytest.mark.parametrize("lm_tokens", [None, 1])
def test_texts_are_scored_on_all_inputs_with_any_budget(family: str, lm_tokens: int | None) -> None:
    problem = problem_of(tiny_lm(family), weight=0.1, lm_tokens=lm_tokens)
    search = _Search(problem, WideBeamConfig(beams=2, proposals=2))
    search.grow()
    search.shorten()
    best = search.scored_on_dev()
    shortest = 2 if family == "no-bos" else 1
    assert best and all(shortest <= len(ids) <= 3 for ids in texts_of(problem))
    fresh = problem_of(tiny_lm(family), weight=0.1)
    for ids, total in search.totals.items():
        assert fresh.objective([ids]).total.item() == pytest.approx(total, abs=1e-4)
    assert problem.best and problem.best.dev_objective == pytest.approx(search.totals[best[-1]], abs=1e-4)


def test_all_texts_with_few_tokens_are_found() -> None:
    """With as many beams and proposals as there are tokens, the search is exhaustive: its best text is the best of all."""
    lm = tiny_lm("gpt2")
    words = torch.tensor([ids[0] for ids in lm.encode_after([" good", " bad", " film", " red"])])
    problem = problem_of(lm, weight=0.1, vocabulary=words, max_length=2)
    run_reader(wide_beam, problem, {"beams": 8, "proposals": 4, "first_inputs": 3})
    every = [[a] for a in words.tolist()] + [[a, b] for a in words.tolist() for b in words.tolist()]
    assert problem.best and problem.best.dev_objective == pytest.approx(problem.objective(every).total.min().item(), abs=1e-5)


def test_no_text_is_a_beam_twice() -> None:
    search = _Search(problem_of(tiny_lm("gpt2")), WideBeamConfig(beams=2, proposals=3))
    search.grow()
    first = [ids for ids in search._beams(1)]
    search._extend(first)
    assert first and not {*first} & {*search._beams(1)}


def test_words_of_several_tokens_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("gpt2")
    blank_g, o, d, blank_word = (lm.tokenizer.convert_tokens_to_ids(piece) for piece in ("Ġg", "o", "d", "Ġbad"))
    problem = problem_of(lm, max_length=5)
    search = _Search(problem, WideBeamConfig())
    then = {(blank_g,): o, (blank_g, o): d, (blank_g, o, d): blank_word, (blank_word,): blank_word}

    def log_probs(contexts: list[list[int]]) -> torch.Tensor:
        following = torch.tensor([then[tuple(ids[len(lm.prefix_ids) :])] for ids in contexts])
        return (problem.allowed == following[:, None]).float().log()

    monkeypatch.setattr(search._proposals, "log_probs", log_probs)
    assert search._whole_words([(blank_g,), (blank_word,)]) == [(blank_g, o, d)]


def test_no_token_continues_the_word_of_a_beam() -> None:
    lm = tiny_lm("gpt2")
    search = _Search(problem_of(lm, max_length=5), WideBeamConfig(proposals=30))
    [good] = lm.encode_after([" good"])[0]
    children = search._children([(good,)])
    texts = [lm.decode(ids[1:2]) for ids in children]
    assert len(texts) > 30 and all(text[0] == " " or not text[0].isalpha() for text in texts)


def test_candidates_also_end_in_a_colon() -> None:
    lm = tiny_lm("gpt2")
    [colon] = lm.encode_after([":"])[0]
    words = torch.tensor([*(ids[0] for ids in lm.encode_after([" good", " bad"])), colon])
    problem = problem_of(lm, vocabulary=words, max_length=2)
    search = _Search(problem, WideBeamConfig(beams=4, first_inputs=100))  # all texts are scored on all inputs
    search._extend([()])
    assert {(words[0].item(), colon), (words[1].item(), colon)} <= {*search.totals}
    without = _Search(problem_of(lm, vocabulary=words[:2]), WideBeamConfig(beams=4))
    without._extend([()])
    assert all(colon not in ids for ids in without.totals)


def test_deletions_lower_the_objective() -> None:
    """Around the target itself, which has a divergence of zero, spans are deleted until it is found."""
    lm = tiny_lm("gpt2")
    target = lm.encode_after([" good"])[0]
    search = _Search(problem_of(lm, target, max_length=6), WideBeamConfig())
    search._race([(*target, *lm.encode_after([" the cat sat"])[0])])
    search.shorten()
    assert search._ranked()[0] == tuple(target) and search.totals[tuple(target)] < 1e-4


def test_chats_show_the_answers_under_the_target() -> None:
    lm = chat_lm("chatml")
    problem = problem_of(lm)
    asked = chats(problem, [0, 2])
    shown = [lm.tokenizer.decode(ids) for ids in asked]
    assert len(shown) == 4 and QUESTIONS[0] in shown[0] and shown[1].endswith("Instruction:")
    assert all("Input: the dog\nOutput: " in text and "Input: a mat\nOutput: " in text for text in shown)
    assert chats(problem_of(tiny_lm("gpt2")), [0]) == []


def test_the_prediction_is_a_gradient() -> None:
    """It is minus the derivative of the divergence from the placeholder towards a token, up to a constant."""
    lm = tiny_lm("gpt2")
    problem = problem_of(lm)
    search = _Search(problem, WideBeamConfig())
    beam = tuple(lm.encode_after([" good"])[0])
    [predicted] = search._predicted([beam], [], search._after_start([beam]), [0, 1])

    def loss(token: int, step: float) -> torch.Tensor:
        place = search._placeholder + step * (lm.vocab_embeds[token] - search._placeholder)
        return problem.train.score_embeds(torch.cat([lm.vocab_embeds[list(beam)], place]), [0, 1]).loss.double().mean()

    slopes = [(loss(token, 1e-2) - loss(token, -1e-2)) / 2e-2 for token in problem.allowed[[10, 50]].tolist()]
    assert float(predicted[50] - predicted[10]) == pytest.approx(float(slopes[0] - slopes[1]), rel=0.05, abs=1e-3)


@pytest.mark.parametrize("family", [*MASKED, *ENCODER_DECODER])
def test_models_without_a_next_token_are_refused(family: str) -> None:
    lm = tiny_lm(family)
    masked: dict[str, Any] = {"template": Template("{input} {prompt} : {mask}")}
    task = tiny_task(**masked) if family in MASKED else tiny_task("generation")
    with pytest.raises(RequestError, match="predicts no next token"):
        run_reader(load_reader("wide-beam"), problem_of(lm, task=task))
