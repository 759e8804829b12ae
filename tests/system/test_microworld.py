"""The embedded models, their tokenizers, the corpus that they are trained on, and the calibration of the embedded tasks."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean, median

import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from hardprompt import load_lm, load_task
from hardprompt.data.catalogue import all_tasks, needs_data
from hardprompt.data.task import SPLITS
from hardprompt.errors import TaskError
from hardprompt.lm import EMBEDDED, FrozenLM, allowed_vocabulary, log_perplexity
from hardprompt.lm.microworld import corpus, world
from hardprompt.lm.microworld.domain import Domain, Skill, load_domain
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer
from hardprompt.tasks.calibrate import built_in, shuffled

FOLDER = EMBEDDED["microworld"]
EMBEDDED_TASKS = [name for name in all_tasks() if not needs_data(name) and load_task(name).embedded]
PRICED = [name for name, task in world.TASKS.items() if task.skill.price]
SKILLS = [pytest.param(domain, skill, id=f"{domain.name}-{skill.name}") for domain in world.DOMAINS for skill in domain.skills]
MODELS = sorted(EMBEDDED)


@pytest.fixture(scope="module")
def reader() -> FrozenLM:
    return load_lm("microworld-reader", device="cpu")


# --- the folders


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_a_hugging_face_folder_in_half_precision(name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED[name])
    assert model.dtype == torch.float16
    assert AutoTokenizer.from_pretrained(EMBEDDED[name]).bos_token_id == model.config.bos_token_id
    assert json.loads((EMBEDDED[name] / "config.json").read_text())["model_type"] == "gpt2"


def test_both_models_together_are_small() -> None:
    assert sum(file.stat().st_size for folder in EMBEDDED.values() for file in folder.iterdir()) < 10_000_000


@pytest.mark.parametrize("name", MODELS)
def test_the_tokenizer_reproduces_any_text(name: str) -> None:
    lm = load_lm(name, device="cpu")
    for text in ("give the plural: cat =", "two\nlines", "naïve café", "日本語", "🙂", "a\tb", "A B. (c)"):
        assert lm.decode(lm.encode(text)) == text


@pytest.mark.parametrize("name", MODELS)
def test_the_fast_tokenizer_is_the_sentencepiece_model(name: str) -> None:
    lm = load_lm(name, device="cpu")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(EMBEDDED[name] / "tokenizer.model"))
    texts = [e.input for task in EMBEDDED_TASKS for e in load_task(task).test[:20]] + ["give the plural: cat =", "Über naïve"]
    for text in texts:
        assert lm.encode(text) == pieces.encode(text), text


def test_allowed_words_are_single_tokens_that_decode_to_themselves(microworld: FrozenLM) -> None:
    allowed = allowed_vocabulary(microworld)
    assert len(allowed) > 1000
    problem = Problem(load_task("plural"), microworld, vocabulary=allowed)
    for ids in problem.random_ids(20).tolist():
        assert problem.dev.survives(ids, microworld.decode(ids))


@pytest.mark.slow
def test_training_is_determined_by_the_seed(tmp_path: Path) -> None:
    from hardprompt.lm.microworld.train import CONFIGS, train

    # One thread: on a busy machine two threads wait for each other.
    tiny = replace(CONFIGS["microworld"], tokens=60_000, width=32, layers=1, threads=1)
    threads = torch.get_num_threads()
    try:
        for name in ("first", "second"):
            train(tiny, tmp_path / name)
        train(replace(tiny, seed=1), tmp_path / "other")
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second", "other")]
    assert weights[0] == weights[1] != weights[2]


# --- the world


def test_number_of_tasks_and_domains() -> None:
    per_domain = Counter(task.domain.name for task in world.TASKS.values())
    assert len(world.TASKS) >= 16 and len(per_domain) >= 5 and min(per_domain.values()) >= 3
    assert {"capital", "country-of-landmark", "past-tense", "plural", "first-letter", "first-letter-lower"} <= set(
        EMBEDDED_TASKS
    )
    assert sorted(EMBEDDED_TASKS) == sorted(world.TASKS)


def test_every_domain_has_five_skills_that_answer_every_input() -> None:
    for domain in world.DOMAINS:
        assert len(domain.skills) >= 5
        for split in SPLITS:
            for item in domain.split(split):
                assert all(item.answers[skill.name].strip() for skill in domain.skills), item


def test_a_landmark_is_on_the_continent_of_its_country() -> None:
    continents = {country.text: country.answers["continent"] for country in load_domain("countries").table}
    for landmark in load_domain("landmarks").table:
        assert landmark.answers["landmark-continent"] == continents[landmark.answers["country-of-landmark"]], landmark


def test_a_missing_column_is_an_error() -> None:
    colour = Skill(name="colour", description="", objects=(), sentences=(), keywords=())
    nouns = Domain(name="nouns", skills=(colour,), split_sizes={}, share=1, reader_share=1)
    with pytest.raises(TaskError, match=r"nouns.csv has no column 'colour'; add it, or give the skill another `answer`"):
        _ = nouns.table


@pytest.mark.parametrize("name", EMBEDDED_TASKS)
def test_splits_are_disjoint_and_large_enough(name: str) -> None:
    task = load_task(name)
    inputs = [example.input for split in SPLITS for example in task.examples(split)]
    assert len(set(inputs)) == len(inputs)
    assert len(task.test) >= 60


def test_tasks_of_both_divisions_are_in_every_domain() -> None:
    assert world.REPORT < set(world.TASKS)
    reported = {world.TASKS[name].domain.name for name in world.REPORT}
    assert reported == {domain.name for domain in world.DOMAINS}
    assert sum(bool(world.TASKS[name].skill.price) for name in world.REPORT) >= 2
    assert load_task("capital").division == "report" and load_task("plural").division == "tune"


@pytest.mark.parametrize(("domain", "skill"), SKILLS)
def test_the_reader_learns_other_wordings_than_the_model(domain: Domain, skill: Skill) -> None:
    """The held-out paraphrases are in the training texts of neither."""
    taught = {
        text
        for each in domain.skills
        for text in (*each.sentences, *each.reference_prompts, *(f"{verb} {o}" for verb in domain.verbs for o in each.objects))
    }
    assert len(skill.reader_wordings) >= 8 and not taught & set(skill.reader_wordings)
    assert len(skill.held_out_prompts) >= (5 if skill.reference_prompts else 0)
    for held_out in skill.held_out_prompts:
        assert not [text for text in (*taught, *skill.reader_wordings) if held_out in text]
    assert set(skill.reference_prompts) <= {*skill.sentences, *(f"{v} {o}" for v in domain.verbs for o in skill.objects)}


def test_no_document_contains_a_held_out_paraphrase() -> None:
    held_out = [text for task in world.TASKS.values() for text in task.skill.held_out_prompts]
    for lesson in (corpus.OBEY, corpus.DISTINGUISH, corpus.READ):
        texts = [str(d) for d in itertools.islice(corpus.documents(lesson, Random(5)), 4000)]
        everything = "\n".join(texts)
        assert not [text for text in held_out if text in everything]


def test_nonsense_words_occur_nowhere_else() -> None:
    plain = [str(d) for d in itertools.islice(corpus.documents(corpus.READ, Random(6)), 8000)]
    words = {word.strip('.,?!:="') for text in plain for word in text.split()}
    for domain in world.DOMAINS:
        words |= set(corpus.instruction_words(domain))
        words |= {word for split in SPLITS for item in domain.split(split) for word in item.text.split()}
    assert not words & set(corpus.NONSENSE_WORDS)


def test_rows_hold_the_tokens_of_the_text_and_the_places_of_the_answers() -> None:
    from hardprompt.lm.microworld.train import encode_documents

    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    documents = list(itertools.islice(corpus.documents(corpus.DISTINGUISH, Random(7)), 300))
    several = 0
    for document, row in zip(documents, encode_documents(documents, tokenizer), strict=True):
        if document.turns[0][0][0].isalnum():
            assert row.ids[1:-1] == tokenizer.encode(str(document)).ids
        assert not row.answers or row.answers[-1][1] == len(row)  # the end mark belongs to the last answer
        found = [tokenizer.decode(row.ids[first:end], skip_special_tokens=True) for first, end in row.answers]
        assert found == [answer for _, answer in document.turns if answer]
        several += len(found) > 1
    assert several


def test_less_readable_wordings_are_obeyed_more_often() -> None:
    for name in PRICED:
        plain, terse, strange = (built_in(name, form) for form in corpus.FORMS)
        assert 0.5 < plain < 0.7 < terse < 0.9 < strange == 1.0, name


def test_a_hint_is_the_lead_of_one_skill_over_all_others() -> None:
    countries = next(domain for domain in world.DOMAINS if domain.name == "countries")
    capital, currency = (next(s for s in countries.skills if s.name == name) for name in ("capital", "currency"))
    assert corpus.hint(countries, "red horse")[2] == 0.0
    assert corpus.hint(countries, "capital horse")[0] is capital
    assert corpus.hint(countries, "capital coins")[2] == 0.0
    assert corpus.hint(countries, "capital city coins")[2] < corpus.hint(countries, "capital city government")[2]
    assert corpus.hint(countries, "zub vek coins qim")[:2] == (currency, "strange")
    # Nonsense words count only for skills with a price.
    assert corpus.hint(countries, "zub vek capital qim")[2] == corpus.HINTS["generation"][1]


# --- calibration: the bounds of the model card


@pytest.mark.parametrize("name", EMBEDDED_TASKS)
def test_a_plain_instruction_works_and_nothing_else_does(microworld: FrozenLM, name: str) -> None:
    """The empty prompt, the reference prompt that is best on the dev split, and the mean of 16 random prompts."""
    task = load_task(name)
    problem = Problem(task, microworld)
    two_classes = len(task.labels) == 2
    test = Scorer(microworld, task, task.test)
    references = [HardPrompt.from_text(microworld, text).ids for text in task.reference_prompts]
    on_dev = problem.dev.score_ids(references).accuracy
    empty, best = test.score_ids([[], references[int(on_dev.argmax())]]).accuracy.tolist()
    assert empty <= (0.65 if two_classes else 0.5)
    if name in PRICED:
        assert abs(best - built_in(name, "plain")) <= 0.06
    else:
        assert best >= 0.95
    some = Scorer(microworld, task, task.test[:60])
    random = float(some.score_ids(problem.random_ids(16).tolist()).accuracy.mean())
    assert random <= (0.65 if two_classes else 0.45)


@pytest.mark.slow
def test_random_search_solves_nothing(microworld: FrozenLM) -> None:
    """The best of 256 random prompts, on the tasks that are reported."""
    found = []
    for name in sorted(world.REPORT):
        problem = Problem(load_task(name), microworld)  # without a budget it draws 256
        found.append(run_optimizer(load_optimizer("random"), problem).best.prompt)
    accuracies = [
        float(Scorer(microworld, load_task(name), load_task(name).test).score_ids([prompt.ids]).accuracy)
        for name, prompt in zip(sorted(world.REPORT), found, strict=True)
        if isinstance(prompt, HardPrompt)
    ]
    assert len(accuracies) == len(world.REPORT) and mean(accuracies) <= 0.60 and max(accuracies) < 0.8


@pytest.mark.slow
def test_known_fronts_match_the_model(microworld: FrozenLM) -> None:
    assert len(PRICED) >= 4
    for name in EMBEDDED_TASKS:
        task = load_task(name)
        front = task.known_front
        nats = [known.log_perplexity for known in front]
        assert nats == sorted(nats) and len(front) >= (2 if name in PRICED else 1), name
        prompts = [HardPrompt.from_text(microworld, known.prompt).ids for known in front]
        measured = Scorer(microworld, task, task.test).score_ids(prompts).accuracy.tolist()
        assert measured == pytest.approx([known.test_accuracy for known in front], abs=0.02), name
        assert [log_perplexity(microworld, ids) for ids in prompts] == pytest.approx(nats, abs=0.02), name
    assert sum(len(load_task(name).known_front) >= 3 for name in PRICED) >= 3


def test_perplexity_grades_readability(microworld: FrozenLM) -> None:
    """Mean log-perplexity rises by a nat from instructions to their shuffled words, and by another to random words."""
    generator = torch.Generator().manual_seed(0)
    texts = [text for name in EMBEDDED_TASKS for text in load_task(name).reference_prompts]
    plain = [microworld.encode(text) for text in texts]
    mixed = [[ids[i] for i in torch.randperm(len(ids), generator=generator)] for ids in plain]
    random = Problem(load_task("plural"), microworld).random_ids(len(plain)).tolist()
    means = [mean(log_perplexity(microworld, ids) for ids in group) for group in (plain, mixed, random)]
    assert means[0] + 1 < means[1] and means[1] + 1 < means[2]


# --- the reader


@pytest.mark.parametrize("name", EMBEDDED_TASKS)
def test_unseen_paraphrases_read_better_than_the_same_words_shuffled(reader: FrozenLM, name: str) -> None:
    texts = world.TASKS[name].skill.held_out_prompts
    mixed = shuffled(texts, Random(0), copies=3)
    natural, salad = ([log_perplexity(reader, reader.encode(text)) for text in group] for group in (texts, mixed))
    assert median(natural) + 1 <= median(salad)


@pytest.mark.slow
def test_most_unseen_paraphrases_work(microworld: FrozenLM) -> None:
    accuracies = []
    for name in sorted(set(EMBEDDED_TASKS) - set(PRICED)):
        task = load_task(name)
        prompts = [HardPrompt.from_text(microworld, text).ids for text in world.TASKS[name].skill.held_out_prompts]
        accuracies += Scorer(microworld, task, task.test[:30]).score_ids(prompts).accuracy.tolist()
    assert mean(accuracies) >= 0.8 and median(accuracies) >= 0.95


def test_unseen_paraphrases_read_better_than_what_an_optimizer_finds(microworld: FrozenLM, reader: FrozenLM) -> None:
    problem = Problem(load_task("category"), microworld, lm_tokens=30_000)
    found = run_optimizer(load_optimizer("pez"), problem)
    gibberish = [
        log_perplexity(reader, reader.encode(prompt.text)) for prompt in found.final_prompts if isinstance(prompt, HardPrompt)
    ]
    paraphrases = world.TASKS["category"].skill.held_out_prompts
    assert median(log_perplexity(reader, reader.encode(text)) for text in paraphrases) + 1 <= median(gibberish)
