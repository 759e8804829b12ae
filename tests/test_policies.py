"""The environment and its batched twin: both libraries' checkers, one reward, and a policy that learns what is known."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check

import hardprompt.policies  # noqa: F401  (registers the environment)
from hardprompt.objective import gap_reward
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.policies.env import PromptEnv
from hardprompt.policies.reward import Reward, prompt_reward
from hardprompt.policies.vec_env import PromptVecEnv
from tests.tiny import tiny_lm, tiny_task


def _env(**fields: object) -> gymnasium.Env:
    return gymnasium.make("hardprompt/Prompt-v0", task=tiny_task(), lm=tiny_lm("gpt2"), prompt_length=3, **fields)


def test_both_checkers_pass() -> None:
    gymnasium_check(_env(render_mode="ansi").unwrapped)
    sb3_check(_env().unwrapped)


def test_an_episode_ends_with_the_objective() -> None:
    env = _env(weight=0.5)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space and observation[0] == 1.0
    rewards, ends = [], []
    for action in (3, 5, 3):
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        ends.append((terminated, truncated))
    inner: PromptEnv = env.unwrapped  # type: ignore[assignment]
    ids = inner.problem.allowed[[3, 5, 3]].tolist()
    assert info["prompt_ids"] == ids and inner.render() == info["prompt_text"] == inner.problem.lm.decode(ids)
    assert rewards[:2] == [0, 0] and rewards[2] == pytest.approx(-float(inner.problem.objective([ids]).total))
    assert ends == [(False, False), (False, False), (True, False)]


def test_many_prompts_at_once_are_rewarded_as_one_by_one() -> None:
    problem = Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=3, weight=0.5)
    many = PromptVecEnv(problem, lambda ids: prompt_reward(problem, ids), num_envs=4)
    actions = np.random.default_rng(0).integers(len(problem.allowed), size=(3, 4))
    many.reset()
    for step in actions:
        many.step_async(step)
        observations, rewards, dones, infos = many.step_wait()
    one = _env(weight=0.5)
    for i in range(4):
        one.reset()
        for action in actions[:, i]:
            observation, reward, terminated, _, info = one.step(action)
        assert dones[i] and terminated
        assert rewards[i] == pytest.approx(reward, rel=1e-4)
        assert infos[i]["prompt_ids"] == info["prompt_ids"]
        np.testing.assert_allclose(infos[i]["terminal_observation"], observation)
    np.testing.assert_array_equal(observations, many.reset())


def test_the_gap_reward_is_rlprompts_less_the_weighted_nll() -> None:
    problem = Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=2, weight=0.5)
    ids = problem.random_ids(3)
    found = prompt_reward(problem, ids, "gap", [0, 1, 2])
    scores = problem.train.score_ids(ids.tolist(), [0, 1, 2])
    assert scores.label_logits is not None
    expected = gap_reward(scores.label_logits, problem.train.labels[:3]) - 0.5 * problem.prompt_nll(ids)
    np.testing.assert_allclose(found.value, expected.numpy(), rtol=1e-5)


def test_ppo_finds_a_known_prompt_and_without_a_learning_rate_does_not() -> None:
    """Reward: the share of positions that hold token row 7. Random scores 1/78; a learner must emit 0.8 in the mean."""
    problem = Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=3)
    wanted = problem.allowed[7]

    def emitted(learning_rate: float) -> float:
        shares: list[float] = []

        def reward(ids: torch.Tensor) -> Reward:
            share = (ids == wanted).float().mean(-1)
            shares.append(float(share.mean()))
            return Reward(share.numpy())

        env = PromptVecEnv(problem, reward, num_envs=64)
        model = PPO("MlpPolicy", env, learning_rate=learning_rate, n_steps=3, batch_size=192, n_epochs=4, gamma=1.0, seed=0)
        model.learn(64 * 3 * 60)
        return sum(shares[-6:]) / 6

    assert emitted(0.01) > 0.8
    assert emitted(0.0) < 0.1


def test_the_entropy_bonus_is_annealed_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[float] = []
    plain = PPO.train
    monkeypatch.setattr(PPO, "train", lambda self: weights.append(self.ent_coef) or plain(self))
    problem = Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=3)
    rl = load_optimizer("rl")
    run_optimizer(rl, problem, rl.configure({"episodes": 16, "rollout": 4, "entropy": 0.2}))
    assert weights == pytest.approx([0.2, 0.15, 0.1, 0.05])
