"""The environments: checkers, rewards, action sets, two vocabularies, and a policy that learns a known prompt."""

import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_checker import check_env as sb3_check

import hardprompt.policies  # noqa: F401  (registers the environment)
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.objective import gap_reward
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.policies.actions import action_ids
from hardprompt.policies.env import PromptEnv
from hardprompt.policies.networks import FrozenHead, HeadActorCriticPolicy, log_prob_and_entropy
from hardprompt.policies.ppo import PpoConfig
from hardprompt.policies.reward import Reward, hypervolume_reward, normalized, prompt_reward, shaped
from hardprompt.policies.space import PromptSpace
from hardprompt.policies.vec_env import PromptVecEnv
from hardprompt.study.measure import measure
from tests.helpers.chat import chat_lm, chat_task
from tests.helpers.plain import plain_nll, plain_score
from tests.helpers.tiny import tiny_lm, tiny_task


def _env(**fields: Any) -> gymnasium.Env:
    return gymnasium.make("hardprompt/Prompt-v0", **{"task": tiny_task(), "lm": tiny_lm("gpt2"), "prompt_length": 3} | fields)


def _problem(**fields: Any) -> Problem:
    return Problem(tiny_task(), tiny_lm("gpt2"), **{"prompt_length": 3} | fields)


KINDS: dict[str, dict[str, Any]] = {
    "light": {},
    "with an end": {"end": True},
    "state": {"observation": "state"},
    "state with an end": {"observation": "state", "end": True, "fluent": 9},
    "another writer": {"observation": "state", "policy_lm": tiny_lm("llama")},
    "inputs": {"observation": "state", "inputs": True},
    "a masked task LM": {"lm": tiny_lm("roberta"), "policy_lm": tiny_lm("gpt2")},
}


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_the_checkers_of_gymnasium_and_stable_baselines3_pass(fields: dict[str, Any]) -> None:
    gymnasium_check(_env(render_mode="ansi", **fields).unwrapped)
    sb3_check(_env(**fields).unwrapped)


def test_an_episode_ends_with_the_objective() -> None:
    env = _env(weight=0.5)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space and observation[0] == 1.0
    rewards, ends = [], []
    for action in (3, 5, 3):
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        ends.append((terminated, truncated))
    inner: PromptEnv = env.unwrapped
    ids = inner.problem.allowed[[3, 5, 3]].tolist()
    assert info["prompt_ids"] == ids and inner.render() == info["prompt_text"] == inner.problem.lm.decode(ids)
    assert rewards[:2] == [0, 0] and rewards[2] == pytest.approx(-float(inner.problem.objective([ids]).total))
    assert ends == [(False, False), (False, False), (True, False)] and info["roundtrip_ok"]


@pytest.mark.parametrize("fields", [KINDS[kind] for kind in ("light", "state", "with an end", "another writer")])
def test_the_vector_environment_agrees_with_single_environments(fields: dict[str, Any]) -> None:
    """Observations and rewards are equal. A prompt that ends early waits for the others."""
    fields = fields | {"weight": 0.5}
    one: PromptEnv = _env(**fields).unwrapped
    many = PromptVecEnv(one.space, lambda prompts: prompt_reward(one.problem, prompts), num_envs=4)
    actions = np.random.default_rng(0).integers(one.space.size - one.space.end, size=(3, 4))
    if one.space.end:
        actions[1, 2] = one.space.size - 1
    seen, waits = [many.reset()], []
    for step in actions:
        many.step_async(step)
        observations, rewards, dones, infos = many.step_wait()
        seen.append(observations)
        waits.append([info.get("waiting", False) for info in infos])
    for i in range(4):
        observation, _ = one.reset()
        for t, action in enumerate(actions[:, i]):
            np.testing.assert_allclose(seen[t][i], observation, atol=1e-4)
            observation, reward, terminated, _, info = one.step(action)
            if terminated:
                break
        assert dones[i] and terminated and rewards[i] == pytest.approx(reward, rel=1e-4)
        assert infos[i]["prompt_ids"] == info["prompt_ids"]
    assert waits[:2] == [[False] * 4] * 2
    assert waits[2] == ([False, False, True, False] if one.space.end else [False] * 4)
    np.testing.assert_allclose(observations, many.reset())


def test_a_prompt_for_one_input_is_rewarded_on_that_input() -> None:
    env: PromptEnv = _env(observation="state", inputs=True).unwrapped
    seen = set()
    for seed in range(4):
        observation, info = env.reset(seed=seed)
        seen.add((info["example"], observation.tobytes()))
        for _ in range(3):
            _, reward, _, _, end = env.step(np.int64(1))
        alone = env.problem.objective([end["prompt_ids"]], [info["example"]])
        assert reward == pytest.approx(-float(alone.total), rel=1e-4)
    assert len({example for example, _ in seen}) == len(seen) > 1, "the start is another one for another input"
    drawn = PromptVecEnv(env.space, lambda prompts: Reward(np.zeros(len(prompts))), 2, draw=lambda count: [0, 3])
    lm = env.problem.lm
    states = [
        lm.hidden(lm.embed(torch.tensor([lm.prefix_ids + lm.encode(env.problem.task.train[i].input)])))[0, -1] for i in (0, 3)
    ]
    np.testing.assert_allclose(drawn.reset(), torch.stack(states).numpy(), atol=1e-5)


def test_the_observation_is_the_hidden_state_and_the_head_gives_the_logits() -> None:
    problem = _problem()
    space = PromptSpace(problem, observation="state")
    rows = np.array([[4, 7], [1, 0]])
    assert space.head is not None
    ids = torch.tensor(space.tokens(rows))
    with torch.no_grad():
        assert problem.lm.bos_id is not None
        start = torch.full((2, 1), problem.lm.bos_id)
        expected = problem.lm.model(torch.cat([start, ids], 1)).logits[:, -1, problem.allowed]
    for read in (rows[:, :0], rows[:, :1], rows):  # grows, so that the cache is used
        state = space.observe(read)
    torch.testing.assert_close(space.head(torch.from_numpy(state)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(space.observe(rows), state, atol=1e-5), "read anew"


def test_the_fluent_option_keeps_only_fluent_actions() -> None:
    problem = _problem()
    first = problem.lm.model(torch.tensor([problem.lm.prefix_ids])).logits[0, -1, problem.allowed]
    best = set(problem.allowed[first.topk(9).indices].tolist())
    assert set(action_ids(problem, problem.lm, fluent=9).tolist()) == best
    space = PromptSpace(problem, observation="state", fluent=9)
    assert space.head is not None and space.size == len(problem.allowed)
    state = torch.from_numpy(space.observe(np.zeros((1, 0), dtype=np.int64)))
    outputs = torch.randn(1, state.shape[-1], generator=torch.Generator().manual_seed(0))
    found = space.head.kept(outputs, state)
    assert found is not None and set(problem.allowed[found[1][0]].tolist()) == best
    torch.testing.assert_close(found[0][0], space.head(outputs)[0, found[1][0]])


def test_the_end_action_is_always_one_of_the_fluent_actions() -> None:
    space = PromptSpace(_problem(), observation="state", fluent=4, end=True)
    assert space.head is not None
    states = torch.from_numpy(space.observe(np.arange(12)[:, None]))
    found = space.head.kept(states, states)
    assert found is not None and found[1].shape == (12, 4)
    likely = space.head(states)[:, :-1].topk(3).indices
    for kept, words in zip(found[1].tolist(), likely.tolist(), strict=True):
        assert kept == [space.size - 1, *words]


def test_the_fluent_actions_of_a_state_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head forgets its states when there are more than two of them here."""
    monkeypatch.setattr("hardprompt.policies.networks.MAX_STATES", 2)
    space = PromptSpace(_problem(), observation="state", fluent=9)
    head, states = space.head, torch.from_numpy(space.observe(np.arange(3)[:, None]))
    assert head is not None
    plain, read = FrozenHead.__call__, []

    def counted(self: FrozenHead, seen: torch.Tensor) -> torch.Tensor:
        read.append(len(seen))
        return plain(self, seen)

    monkeypatch.setattr(FrozenHead, "__call__", counted)
    kept = [head.kept(states[rows], states[rows]) for rows in ([0, 1], [1, 0], [2], [0])]
    assert read == [2, 1, 1]
    assert kept[0] is not None and kept[1] is not None
    assert torch.equal(kept[0][1], kept[1][1].flip(0))


def test_a_fluent_policy_evaluates_actions_as_a_distribution_over_all_of_them() -> None:
    space = PromptSpace(_problem(), observation="state", fluent=9)
    env = PromptVecEnv(space, lambda prompts: Reward(np.zeros(len(prompts), dtype=np.float32), {}), 4)
    policy = PPO(HeadActorCriticPolicy, env, n_steps=2, batch_size=8, seed=0, policy_kwargs={"head": space.head}).policy
    seen = torch.from_numpy(np.concatenate([space.observe(rows) for rows in (np.zeros((1, 0), int), np.array([[3]]))]))
    plain = policy.get_distribution(seen)
    actions = plain.get_actions()
    _, log_probs, entropies = policy.evaluate_actions(seen, actions)
    torch.testing.assert_close(log_probs, plain.log_prob(actions))
    torch.testing.assert_close(entropies, plain.distribution.entropy())
    other = plain.distribution.logits.argmin(-1)  # an action that is not fluent
    assert policy.evaluate_actions(seen, other)[1].tolist() == [-np.inf] * 2


def test_log_probabilities_and_entropy_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardprompt.policies.networks.BLOCK", 40)  # three blocks of rows, the last of one row
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(5, 20, generator=generator, dtype=torch.float64)
    actions = torch.tensor([1, 4, 10, 7, 19])
    found, expected = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    plain = torch.distributions.Categorical(logits=expected, validate_args=False)
    values = [log_prob_and_entropy(found, actions), (plain.log_prob(actions), plain.entropy())]
    torch.testing.assert_close(*values)
    for log_probs, entropies in values:
        (log_probs @ torch.arange(1.0, 6, dtype=torch.float64) - 0.3 * entropies.square().sum()).backward()
    assert found.grad is not None and expected.grad is not None
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize(
    ("most", "options", "expected"),
    [
        (10, {}, ("state", 50)),
        (10, {"fluent": 7}, ("state", 7)),
        (10, {"observation": "light"}, ("light", None)),
        (10**6, {}, ("light", None)),
        (10, {"lm": "roberta"}, ("light", None)),
        (10, {"policy_lm": "microworld"}, ("light", None)),
        (10, {"end": True}, ("state", 50)),
    ],
    ids=["many", "a number", "all", "few", "a masked model", "another writer", "an end"],
)
def test_of_many_tokens_a_policy_writes_likely_ones(
    most: int, options: dict[str, Any], expected: tuple[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardprompt.policies.ppo.MANY_TOKENS", most)
    rl, lm = load_optimizer("rl"), tiny_lm(options.pop("lm", "gpt2"))
    result = run_optimizer(
        rl, Problem(tiny_task(), lm, prompt_length=3), rl.configure({"rollout": 2, "episodes": 2, **options})
    )
    assert (result.config["observation"], result.config["fluent"]) == expected


def test_label_words_can_be_excluded_from_the_actions() -> None:
    problem = _problem()
    lm = problem.lm
    left = {lm.decode([i]).strip() for i in action_ids(problem, lm, label_words=False).tolist()}
    whole = {lm.decode([i]).strip() for i in action_ids(problem, lm).tolist()}
    assert whole - left == {"good", "bad"}


def test_a_prompt_is_passed_to_another_tokenizer_as_text() -> None:
    """The text is passed from sentencepiece to byte-level BPE, and tokens that do not survive are counted."""
    problem, writer = _problem(), tiny_lm("llama")
    space = PromptSpace(problem, policy_lm=writer)
    rows = np.arange(6).reshape(2, 3)
    prompts = space.prompts(rows)
    assert [problem.lm.decode(ids).strip() for ids in prompts] == [text.strip() for text in space.text(rows)]
    assert all(set(ids) <= set(problem.allowed.tolist()) for ids in prompts) and space.crossing_loss(rows) == 0
    pieces = torch.tensor(writer.tokenizer.convert_tokens_to_ids(["g", "o"]))
    space.actions = pieces  # letters, which the text makes into one word
    assert space.crossing_loss(np.array([[0, 1, 1], [0, 0, 0]])) == 1.0


@pytest.mark.parametrize("turn", ["user", "system"])
def test_a_policy_of_another_model_writes_prompts_of_a_chat(turn: Any) -> None:
    """It needs no chat template of its own, and its words have the blank that those of the vocabulary have."""
    problem = Problem(chat_task(text="{prompt}\n{input}", prompt_turn=turn), chat_lm("chatml"), prompt_length=3)
    space = PromptSpace(problem, policy_lm=tiny_lm("llama"))
    rows = np.arange(6).reshape(2, 3)
    prompts = space.prompts(rows)
    assert [problem.lm.decode(ids).strip() for ids in prompts] == [text.strip() for text in space.text(rows)]
    assert all(set(ids) <= set(problem.allowed.tolist()) for ids in prompts) and space.crossing_loss(rows) == 0


def test_an_empty_action_set_is_refused_in_one_line() -> None:
    lm = tiny_lm("gpt2")
    only = torch.tensor(lm.encode_after([" good"])[0])
    with pytest.raises(
        RequestError, match="action set is empty: tiny-gpt2 has none of the allowed tokens of tiny-gpt2 other than label words"
    ):
        PromptSpace(_problem(vocabulary=only), label_words=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy_lm": tiny_lm("roberta"), "observation": "state"}, "tiny-roberta predicts no next token of a prompt"),
        ({"inputs": True}, "use the observation 'state'"),
        ({"reward": "gapp"}, "no reward 'gapp'; use objective, gap, linear-gap, product, hypervolume, or"),
        ({"task": tiny_task("generation"), "reward": "gap"}, "'gap' needs label words"),
        (
            {
                "task": tiny_task(label_words={"positive": "a", "negative": "b"}),
                "lm": tiny_lm("t5"),
                "policy_lm": tiny_lm("gpt2"),
                "reward": "product",
            },
            "'product' needs the prompt NLL",
        ),
    ],
)
def test_invalid_settings_are_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        _env(**fields)


def test_the_gap_reward_is_that_of_rlprompt_minus_the_weighted_nll() -> None:
    problem = _problem(prompt_length=2, weight=0.5)
    ids = problem.random_ids(3)
    found = prompt_reward(problem, ids, "gap", [0, 1, 2])
    scores = problem.train.score_ids(ids.tolist(), [0, 1, 2])
    assert scores.label_logits is not None
    expected = gap_reward(scores.label_logits, problem.train.labels[:3]) - 0.5 * problem.prompt_nll(ids)
    np.testing.assert_allclose(found.value, expected.numpy(), rtol=1e-5)


def test_a_custom_reward_is_called_with_texts_and_examples(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def reward(prompts, examples):\n    return [[len(p) + len(e.input) for e in examples] for p in prompts]\n")
    problem = _problem(weight=0.25)
    ids = problem.random_ids(3)
    found = prompt_reward(problem, ids, f"{file}:reward", [0, 4])
    lengths = [len(problem.lm.decode(row).strip()) for row in ids.tolist()]
    both = sum(len(problem.task.train[i].input) for i in (0, 4)) / 2
    np.testing.assert_allclose(found.parts["task_reward"], [length + both for length in lengths])
    np.testing.assert_allclose(found.value, found.parts["task_reward"] - 0.25 * problem.prompt_nll(ids).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (
            lambda p, e: [[1.0, 2.0], [3.0, float("nan")]],
            r"reward <lambda> of prompt 2 \('.*'\) on example 2 \('bad food'\) is nan",
        ),
        (lambda p, e: [float("inf"), 1.0], r"reward <lambda> of prompt 1 \('.*'\) is inf"),
        (lambda p, e: [1.0], r"on prompt '.*' and 1 more, .*expected shape \(2,\) or \(2, 2\), got \(1,\)"),
        (lambda p, e: "no", r"on prompt '.*': ValueError"),
    ],
)
def test_an_invalid_reward_is_reported_with_prompt_and_example(reward: Any, message: str) -> None:
    problem = _problem()
    with pytest.raises(RequestError, match=message):
        prompt_reward(problem, problem.random_ids(2), reward, [1, 2])


def test_the_perplexity_terms_share_of_the_spread() -> None:
    task, nll = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, -1.0, -1.0, 1.0])
    found = Reward(task - nll, {"task_reward": task})
    assert found.nll_share == pytest.approx(nll.var() / (task.var() + nll.var())), "uncorrelated: variances add"
    assert Reward(task, {"task_reward": task}).nll_share == 0
    assert Reward(-nll, {"task_reward": np.zeros(4)}).nll_share == 1
    np.testing.assert_allclose(shaped(normalized(np.array([1.0, 3.0])), 0, 5), [-5, 5], rtol=1e-3)


def _known(problem: Problem, shares: list[float]) -> Any:
    """The share of positions that hold token row 7."""

    def reward(prompts: list[list[int]]) -> Reward:
        share = (torch.tensor(prompts) == problem.allowed[7]).float().mean(-1)
        shares.append(float(share.mean()))
        return Reward(share.numpy())

    return reward


def test_ppo_finds_a_known_prompt_unless_the_learning_rate_is_zero() -> None:
    """Random prompts have a mean share of 1/78, and so has a repeated random word. A learner must reach a mean of 0.8."""
    problem = _problem()

    def emitted(learning_rate: float) -> float:
        shares: list[float] = []
        env = PromptVecEnv(PromptSpace(problem), _known(problem, shares), num_envs=64)
        model = PPO("MlpPolicy", env, learning_rate=learning_rate, n_steps=3, batch_size=192, n_epochs=4, gamma=1.0, seed=0)
        model.learn(64 * 3 * 60)
        return sum(shares[-6:]) / 6

    assert emitted(0.01) > 0.8
    assert emitted(0.0) < 0.1


def test_another_algorithm_learns_on_the_environment() -> None:
    """The example is A2C with RLPrompt's network, as in the documentation."""
    problem = _problem()
    shares: list[float] = []
    space = PromptSpace(problem, observation="state")
    env = PromptVecEnv(space, _known(problem, shares), num_envs=64)
    A2C(HeadActorCriticPolicy, env, learning_rate=0.003, n_steps=3, seed=0, policy_kwargs={"head": space.head}).learn(
        64 * 3 * 80
    )
    assert sum(shares[:6]) / 6 < 0.1 and sum(shares[-6:]) / 6 > 0.5
    assert not space.lm.model.training and all(p.grad is None for p in space.lm.model.parameters())


def test_the_entropy_bonus_is_annealed_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[float] = []
    plain = PPO.train

    def watched(self: PPO) -> None:
        weights.append(self.ent_coef)
        plain(self)

    monkeypatch.setattr(PPO, "train", watched)
    rl = load_optimizer("rl")
    run_optimizer(rl, _problem(), rl.configure({"episodes": 16, "rollout": 4, "entropy": 0.2}))
    assert weights == pytest.approx([0.2, 0.15, 0.1, 0.05])


CURVE = {
    "reward", "reward_std", "train_accuracy", "prompt_nll", "nll_share", "entropy", "kl_to_lm", "distinct_tokens",
    "repeated", "crossing_loss", "best", "lm_tokens",
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "budget", "scored"),
    [
        ({"episodes": 56}, None, 4),
        ({"episodes": 60}, None, 1),
        ({}, 1_500, 4),
        ({}, 8_000, 1),
        ({"episodes": 8, "scored": 2}, None, 2),
    ],
)
def test_a_short_search_scores_more_prompts_of_each_rollout(options: dict[str, int], budget: int | None, scored: int) -> None:
    """Fewer than 15 rollouts of four prompts, by their number or by what the first one costs, are few."""
    rl, problem = load_optimizer("rl"), _problem(lm_tokens=budget)
    result = run_optimizer(rl, problem, rl.configure({"rollout": 4} | options))
    assert result.config["scored"] == scored
    visited = len(result.candidates) - 1
    assert visited == scored * len(result.curve)
    if budget:
        assert (len(result.curve) < 15) == (scored == 4)


@pytest.mark.parametrize("name", ["rl", "rlprompt"])
@pytest.mark.parametrize("end", [False, True])
def test_the_learning_curve_is_recorded_and_written(name: str, end: bool, tmp_path: Path) -> None:
    found, problem = load_optimizer(name), _problem(weight=0.1)
    options = {"episodes": 12, "rollout": 4, "end": end, "log": str(tmp_path)}
    result = run_optimizer(found, problem, found.configure(options))
    assert len(result.curve) == 3 and all(set(entry) == CURVE for entry in result.curve)
    scored = result.candidates[: 3 * result.config["scored"]]
    assert result.curve[-1]["best"] == min(candidate.dev_objective for candidate in scored)
    assert result.curve[0]["entropy"] == pytest.approx(np.log(len(problem.allowed) + end), rel=0.05), "uniform at the start"
    written = (tmp_path / "tiny-classification-default-w0.1-0" / "progress.csv").read_text().splitlines()
    assert set(written[0].split(",")) >= {f"prompt/{key}" for key in CURVE} and len(written) > 2


def test_tensorboard_reads_the_curve(tmp_path: Path) -> None:
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed (the extra `tensorboard`)",
    )
    found = load_optimizer("rl")
    result = run_optimizer(found, _problem(), found.configure({"episodes": 12, "rollout": 4, "log": str(tmp_path)}))
    read = events.EventAccumulator(str(tmp_path / "tiny-classification-default-w0-0")).Reload()
    assert {f"prompt/{key}" for key in CURVE} <= set(read.Tags()["scalars"])
    shown = [event.value for event in read.Scalars("prompt/reward")]
    assert len(shown) >= 2 and shown[-1] in [pytest.approx(entry["reward"], rel=1e-4) for entry in result.curve]


@pytest.mark.parametrize(
    ("options", "rollouts"), [({"patience": 2, "learning_rate": 0.0}, range(3, 30)), ({"timeout": 1e-6}, range(1, 2))]
)
def test_a_search_ends_after_its_episodes_or_its_patience(options: dict[str, Any], rollouts: range) -> None:
    found = load_optimizer("rl")
    result = run_optimizer(found, _problem(), found.configure({"episodes": 400, "rollout": 4} | options))
    assert len(result.curve) in rollouts
    if "patience" in options:
        best = [entry["best"] for entry in result.curve]
        assert best[-1] == best[-2] == best[-3] and (len(best) < 4 or best[-3] < best[-4])


def test_the_policy_can_use_another_language_model(microworld: FrozenLM) -> None:
    """As in RLPrompt, the task LM is masked and the policy uses another model.

    Prompts consist of allowed words of the task LM.
    """
    lm, found = tiny_lm("roberta"), load_optimizer("rlprompt")
    problem = Problem(tiny_task(), lm, prompt_length=2)
    result = run_optimizer(found, problem, found.configure({"episodes": 8, "rollout": 4}))
    assert result.config["policy_lm"] == "microworld"
    allowed = set(allowed_vocabulary(lm).tolist())
    assert all(set(candidate.prompt.ids) <= allowed for candidate in result.candidates)  # type: ignore[union-attr]


def test_the_linear_gap_weighs_right_and_wrong_equally() -> None:
    """The reward is 200 times the mean difference between the probability of the right label and of the best other label."""
    problem = _problem()
    ids = problem.allowed[:8].view(2, 4)
    label_logits = problem.train.score_ids(ids.tolist()).label_logits
    assert label_logits is not None
    probabilities = label_logits.softmax(-1)
    right = torch.nn.functional.one_hot(problem.train.labels, probabilities.shape[-1]).bool()
    gaps = probabilities[:, right] - probabilities.masked_fill(right, 0).amax(-1)
    found = prompt_reward(problem, ids, "linear-gap").value
    np.testing.assert_allclose(found, 200 * gaps.mean(-1), rtol=1e-4)
    assert (found >= prompt_reward(problem, ids, "gap").value - 20).all() and (gaps < 0).any()


@pytest.mark.parametrize(
    ("kind", "family"), [("classification", "gpt2"), ("generation", "gpt2"), ("classification", "roberta")]
)
def test_the_volume_rewards_by_hand(kind: str, family: str) -> None:
    """Probabilities of answers are from plain passes; the hypervolume is the mean over all outcomes of two drawn answers."""
    problem = Problem(tiny_task(kind), tiny_lm(family), prompt_length=2, weight=9.0)
    ids, indices = problem.random_ids(4).tolist(), [0, 1, 4]
    size = problem.lm.model.config.vocab_size
    for reward in ("product", "hypervolume"):
        found = prompt_reward(problem, ids, reward, indices)
        for prompt, value, fluency in zip(ids, found.value, found.parts["fluency"], strict=True):
            assert fluency == pytest.approx(math.log(size) / (math.log(size) + plain_nll(problem.lm, prompt)), rel=1e-4)
            areas = []
            for i in indices:
                p = math.exp(-plain_score(problem.lm, problem.task, problem.task.train[i], prompt)[0])
                if reward == "product":
                    areas.append(p * 1 * fluency + (1 - p) * 0 * fluency)
                else:
                    outcomes = {(1, 1): p * p, (1, 0): p * (1 - p), (0, 1): (1 - p) * p, (0, 0): (1 - p) ** 2}
                    areas.append(sum(chance * max(right) * fluency for right, chance in outcomes.items()))
            assert value == pytest.approx(sum(areas) / 3, rel=1e-3)
        np.testing.assert_allclose(found.value, found.parts["task_reward"] * found.parts["fluency"], rtol=1e-6)


def test_a_prompt_without_a_scored_token_is_fluent() -> None:
    problem = Problem(tiny_task(), tiny_lm("no-bos"), prompt_length=1)
    found = prompt_reward(problem, problem.random_ids(2), "product")
    assert np.isnan(found.parts["prompt_nll"]).all() and found.parts["fluency"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("reward", ["product", "hypervolume"])
def test_a_policy_learns_from_a_volume_reward(reward: str) -> None:
    """The mean reward of the last rollouts is higher than that of the first ones, and the record names the reward."""
    problem, rl = _problem(), load_optimizer("rl")
    result = run_optimizer(rl, problem, rl.configure({"episodes": 640, "rollout": 32, "examples": None, "reward": reward}))
    curve = [entry["reward"] for entry in result.curve]
    assert np.mean(curve[-4:]) > np.mean(curve[:4]) and all(0 <= value <= 1 for value in curve)
    learnt = measure(problem, result)["objective"].split("; learnt from ")[1]
    assert reward in learnt and "weight" not in learnt


def test_without_zscores_the_algorithm_gets_the_raw_rewards() -> None:
    """The first prompts are the same, but the algorithm gets other rewards, and so the last prompts differ."""
    found = load_optimizer("rl")
    runs = {
        z: run_optimizer(found, _problem(), found.configure({"episodes": 64, "rollout": 8, "learning_rate": 0.1, "zscore": z}))
        for z in (True, False)
    }
    first = [run.candidates[0].prompt for run in runs.values()]
    assert first[0] == first[1] and runs[True].final_prompts != runs[False].final_prompts
    assert [run.config["zscore"] for run in runs.values()] == [True, False]


@pytest.mark.parametrize(("reward", "said"), [("objective", ""), ("gap", "gap reward"), ("mine.py:mine", "mine.py:mine")])
def test_the_reward_is_recorded(reward: str, said: str, here: Path) -> None:
    Path("mine.py").write_text("def mine(prompts, examples):\n    return [len(prompt) for prompt in prompts]\n")
    problem, rl = _problem(), load_optimizer("rl")
    result = run_optimizer(rl, problem, rl.configure({"episodes": 4, "rollout": 4, "reward": reward}))
    objective = measure(problem, result)["objective"]
    assert said in objective and ("learnt from" in objective) == bool(said)


def test_the_file_of_a_reward_is_run_once_for_a_search(tmp_path: Path) -> None:
    """Its state lasts for one search: the rewards count the calls."""
    file, seen = tmp_path / "mine.py", tmp_path / "seen"
    file.write_text(
        f"with open({str(seen)!r}, 'a') as file:\n    file.write('run ')\ncalls = []\n\n"
        "def reward(prompts, examples):\n    calls.append(1)\n    return [float(len(calls))] * len(prompts)\n"
    )
    problem = Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=2)
    config = PpoConfig(reward=f"{file}:reward", episodes=12, rollout=4)
    result = run_optimizer(load_optimizer("rl"), problem, config)
    assert seen.read_text() == "run " and [point["reward"] for point in result.curve if "reward" in point] == [1.0, 2.0, 3.0]


def test_a_probability_above_one_is_a_rounding_error() -> None:
    assert hypervolume_reward(torch.tensor([[1.0 + 1e-6]]), torch.tensor([0.5])).tolist() == [0.5]
