"""Soft Q-learning: the published losses, the algorithm as users of stable-baselines3 know it, and checkpoints with care."""

import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

import hardprompt.policies  # noqa: F401  (registers the environment)
from hardprompt.errors import RequestError
from hardprompt.optimizers import Problem
from hardprompt.policies.checkpoint import load_checkpoint, sign
from hardprompt.policies.losses import soft_q_loss
from hardprompt.policies.networks import HeadActorCriticPolicy, HeadNet
from hardprompt.policies.reward import Reward, prompt_reward
from hardprompt.policies.soft_q import SoftQ
from hardprompt.policies.space import PromptSpace
from hardprompt.policies.vec_env import PromptVecEnv
from tests.helpers.tiny import tiny_lm, tiny_task

NAMES = {"v1": "v1", "v2": "v2", "v3": "v3", "v2_v3": "v2_v2r_v3_v3r"}


@pytest.mark.parametrize("which", NAMES)
def test_losses_and_gradients_are_the_published_ones(shared: Path, which: Any) -> None:
    cases = json.loads((shared / "golden" / "reference_values.json").read_text())["soft_q_loss"]
    for case in cases:
        values = torch.tensor(case["logits"]).requires_grad_()
        actions = torch.tensor(case["actions"])
        rewards = torch.zeros(actions.shape)
        rewards[:, -1] = torch.tensor(case["rewards"])
        loss = soft_q_loss(values, torch.tensor(case["target_logits"]), actions, rewards, which=which)
        loss.backward()
        expected = case[NAMES[which]]
        assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
        assert values.grad is not None and values.grad.norm().item() == pytest.approx(expected["grad_l2"], rel=1e-5)
        torch.testing.assert_close(values.grad[0, 0], torch.tensor(expected["grad_first"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("which", NAMES)
def test_steps_after_an_end_count_for_nothing(which: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    values, slow = torch.randn(2, 4, 5, generator=generator), torch.randn(2, 4, 5, generator=generator)
    actions, rewards = torch.tensor([[0, 1, 2, 3], [4, 3, 0, 0]]), torch.zeros(2, 4)
    rewards[0, 3], rewards[1, 1], rewards[1, 3] = 2.0, -1.0, 100.0
    is_step = torch.tensor([[True] * 4, [True, True, False, False]])
    both = soft_q_loss(values, slow, actions, rewards, is_step, which)
    one = soft_q_loss(values[:1], slow[:1], actions[:1], rewards[:1], which=which)
    other = soft_q_loss(values[1:, :2], slow[1:, :2], actions[1:, :2], rewards[1:, :2], which=which)
    torch.testing.assert_close(both, (one + other) / 2)


class Lock(gymnasium.Env[np.ndarray, np.int64]):
    """Three digits of four, 1 for the right ones (2, 0, 3). Random play opens it once in 64; the best single digit never."""

    observation_space = spaces.Box(0.0, 1.0, (16,), np.float32)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.tried: list[int] = []
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.tried.append(int(action))
        right = [a == b for a, b in zip(self.tried, (2, 0, 3), strict=False)]
        over = len(right) == 3 or not right[-1]
        return self._seen(), 5.0 * sum(right) / 3 if over else 0.0, over, False, {}

    def _seen(self) -> np.ndarray:
        seen = np.zeros(16, np.float32)
        seen[4 * len(self.tried) % 16] = 1
        return seen


def _opened(model: SoftQ) -> float:
    env = Lock()
    observation, _ = env.reset()
    reward, over = 0.0, False
    while not over:
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, over, _, _ = env.step(action)
    return reward


@pytest.mark.parametrize("loss", ["v1", "v3", "v2_v3"])
def test_it_opens_the_lock_and_without_a_learning_rate_does_not(loss: Any) -> None:
    """Episodes of one to three steps on an ordinary environment; the best reward is 5, a random player's mean 0.5.

    v2 alone does not: its gradient moves differences between actions and never the value of a state, so that giving up early
    for a part of the reward looks better than going on.
    """

    def learnt(learning_rate: float) -> float:
        locks = DummyVecEnv([Lock] * 16)
        model = SoftQ("SoftQPolicy", locks, learning_rate=learning_rate, loss=loss, seed=0, device="cpu", polyak=0.05)
        return _opened(model.learn(16 * 250))

    assert learnt(0.03) == 5.0
    assert learnt(0.0) < 5.0


def _space(**fields: Any) -> PromptSpace:
    task = tiny_task(**fields.pop("task", {}))
    vocabulary = fields.pop("vocabulary", "words")
    problem = Problem(task, tiny_lm("gpt2"), prompt_length=3, vocabulary=vocabulary)
    return PromptSpace(problem, **{"observation": "state"} | fields)


def _env(space: PromptSpace, prompts: int = 16) -> PromptVecEnv:
    return PromptVecEnv(space, lambda ids: prompt_reward(space.problem, ids), prompts)


def _soft_q(env: PromptVecEnv, **fields: Any) -> SoftQ:
    return SoftQ("SoftQPolicy", env, policy_kwargs={"head": env.head}, seed=0, device="cpu", **fields)


def test_a_known_prompt_is_found_and_a_collapse_is_not_taken_for_it() -> None:
    """Rows 7, 3, 7 in turn: a random prompt scores 1/78, one word repeated at most 2/3; the learner emits all three."""
    space = _space(observation="light")
    wanted = space.actions[[7, 3, 7]]
    shares: list[float] = []

    def reward(prompts: list[list[int]]) -> Reward:
        share = (torch.tensor(prompts) == wanted).float().mean(-1)
        shares.append(float(share.mean()))
        return Reward(20 * share.numpy())

    model = SoftQ("SoftQPolicy", PromptVecEnv(space, reward, 32), learning_rate=0.03, seed=0, device="cpu")
    model.learn(32 * 3 * 100)
    assert sum(shares[:5]) / 5 < 0.1 and sum(shares[-5:]) / 5 > 0.8
    rows = np.zeros((1, 0), dtype=np.int64)
    for _ in range(3):
        rows = np.concatenate([rows, model.predict(space.observe(rows), deterministic=True)[0][:, None]], axis=1)
    assert rows.tolist() == [[7, 3, 7]]


def test_the_frozen_model_is_neither_saved_nor_trained(tmp_path: Path) -> None:
    space = _space()
    model = _soft_q(_env(space))
    model.learn(16 * 3 * 2)
    width, hidden = 16, round(16 * 8 / 3)
    trained = {name: tuple(value.shape) for name, value in model.policy.q_net.state_dict().items()}
    assert trained == {
        "mlp.0.weight": (hidden, width), "mlp.0.bias": (hidden,), "mlp.2.weight": (width, hidden), "mlp.2.bias": (width,)
    }  # fmt: skip
    assert not space.lm.model.training and all(parameter.grad is None for parameter in space.lm.model.parameters())
    model.save(tmp_path / "policy")
    with zipfile.ZipFile(tmp_path / "policy.zip") as archive:
        assert len(archive.read("data")) < 30_000
        assert b"lm_head" not in archive.read("data") + archive.read("policy.pth")


def test_the_published_size() -> None:
    """768-2048-768 on distilGPT-2: 3,148,544 parameters."""
    head = _space().head
    assert head is not None
    assert sum(parameter.numel() for parameter in HeadNet(768, head).parameters()) == 3_148_544


def test_the_slow_copy_follows_by_polyak() -> None:
    model = _soft_q(_env(_space()), polyak=0.25, learning_rate=0.01)
    nets = model.policy.q_net, model.policy.q_net_target
    model.learn(16 * 3)  # the copy moves before the step, so after the first it is where it was
    first, slow = (next(net.parameters()).clone() for net in nets)
    model.learn(16 * 3, reset_num_timesteps=False)
    torch.testing.assert_close(next(nets[1].parameters()), 0.75 * slow + 0.25 * first)
    assert not torch.equal(first, slow)


def test_only_the_top_of_q_is_sampled() -> None:
    space = _space()
    model = SoftQ("SoftQPolicy", _env(space), policy_kwargs={"head": space.head, "top_k": 5}, seed=0, device="cpu")
    probabilities = model.policy.get_distribution(torch.randn(4, 16)).distribution.probs
    assert ((probabilities > 0).sum(-1) == 5).all()


def test_saved_and_loaded_it_goes_on_as_it_was(tmp_path: Path) -> None:
    space = _space(end=True)
    model = _soft_q(_env(space), learning_rate=0.01)
    model.learn(16 * 3 * 3)
    model.save(tmp_path / "policy.zip")
    loaded = SoftQ.load(tmp_path / "policy.zip", env=_env(_space(end=True)), device="cpu")
    seen = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0])
    assert loaded.num_timesteps == model.num_timesteps and loaded.polyak == model.polyak
    loaded.learn(16 * 3, reset_num_timesteps=False)
    assert loaded.num_timesteps > model.num_timesteps and loaded._n_updates == model._n_updates + 1


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_callbacks_progress_bar_and_loggers_do_what_they_do_elsewhere(tmp_path: Path, capsys: Any) -> None:
    space = _space()
    model = _soft_q(_env(space))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    callbacks = [
        CheckpointCallback(3, str(tmp_path / "kept")),
        EvalCallback(_env(space), n_eval_episodes=16, eval_freq=3, verbose=0, warn=False),
    ]
    model.learn(16 * 3 * 4, callback=callbacks, progress_bar=True)
    model.logger.close()
    assert len(list((tmp_path / "kept").glob("*.zip"))) == 4
    assert np.isfinite(callbacks[1].last_mean_reward) and callbacks[1].last_mean_reward < 0
    written = (tmp_path / "progress.csv").read_text().splitlines()
    assert {"train/loss", "train/value", "eval/mean_reward", "time/total_timesteps"} <= set(written[0].split(","))
    assert len(written) >= 5


def test_a_checkpoint_of_another_task_or_vocabulary_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.zip"
    _soft_q(_env(_space())).save(file)
    with pytest.raises(RequestError, match=r"trained with another task: tiny-classification \w+; this environment has other"):
        SoftQ.load(file, env=_env(_space(task={"name": "other"})))
    with pytest.raises(RequestError, match=r"trained with another vocabulary: \d+ actions of tiny-gpt2"):
        SoftQ.load(file, env=_env(_space(label_words=False)))
    with pytest.raises(RequestError, match=r"trained with another observation: state, 3 tokens"):
        SoftQ.load(file, env=_env(_space(observation="light")))
    loaded = SoftQ.load(file)
    with pytest.raises(RequestError, match="load it with the environment"):
        loaded.predict(np.zeros((1, 16), np.float32))


class _Touch:
    """What a stranger may put into a checkpoint."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_checkpoint_that_would_run_code_is_refused_unless_asked_for(tmp_path: Path) -> None:
    made = tmp_path / "made"
    model = _soft_q(_env(_space()))
    model.notes = _Touch(made)
    model.save(tmp_path / "policy.zip")
    env = _env(_space())
    with pytest.raises(RequestError, match=r"its notes would run .*Path.* when loaded; .*trust=True"):
        SoftQ.load(tmp_path / "policy.zip", env=env)
    assert not made.exists()
    SoftQ.load(tmp_path / "policy.zip", env=env, trust=True)
    assert made.exists()


@pytest.mark.parametrize("module", ["os", "builtins", "stable_baselines3.common.save_util"])
def test_no_callable_hides_behind_a_harmless_module(module: str, tmp_path: Path) -> None:
    name = {"os": "system", "builtins": "eval"}.get(module, "pickle.loads")
    pickled = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    _soft_q(_env(_space())).save(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    data = json.loads(parts["data"])
    data["policy_kwargs"][":serialized:"] = __import__("base64").b64encode(pickled).decode()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for each, content in (parts | {"data": json.dumps(data).encode()}).items():
            archive.writestr(each, content)
    with pytest.raises(RequestError, match=rf"its policy_kwargs would run {module}.{name} when loaded"):
        SoftQ.load(tmp_path / "other.zip")


def test_checkpoints_of_ppo_are_signed_and_checked_too(tmp_path: Path) -> None:
    space = _space()
    model = PPO(HeadActorCriticPolicy, _env(space), n_steps=3, batch_size=48, policy_kwargs={"head": space.head}, device="cpu")
    sign(model)
    model.save(tmp_path / "ppo")
    loaded = load_checkpoint(PPO.load, tmp_path / "ppo", env=_env(_space()), device="cpu")
    seen = np.ones((2, 16), np.float32)
    np.testing.assert_array_equal(loaded.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0])
    with pytest.raises(RequestError, match="another task"):
        load_checkpoint(PPO.load, tmp_path / "ppo", env=_env(_space(task={"name": "other"})))


def test_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(RequestError, match="is no checkpoint"):
        SoftQ.load(tmp_path / "text.zip")
    with pytest.raises(RequestError, match=r"no checkpoint .*none"):
        SoftQ.load(tmp_path / "none")
