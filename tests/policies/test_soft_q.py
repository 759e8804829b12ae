"""Soft Q-learning: the published losses and the algorithm in stable-baselines3. Checkpoints of all algorithms."""

import base64
import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors import safe_open
from safetensors.torch import save_file
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

import hardprompt.policies  # noqa: F401  (registers the environment)
from hardprompt.errors import RequestError
from hardprompt.optimizers import Problem
from hardprompt.policies import checkpoint
from hardprompt.policies.checkpoint import load_checkpoint, save_checkpoint
from hardprompt.policies.losses import soft_q_loss
from hardprompt.policies.networks import HeadActorCriticPolicy, HeadNet, SoftQPolicy
from hardprompt.policies.reward import Reward, prompt_reward
from hardprompt.policies.soft_q import SoftQ
from hardprompt.policies.space import PromptSpace
from hardprompt.policies.vec_env import PromptVecEnv
from tests.helpers.tiny import tiny_lm, tiny_task

NAMES = {"v1": "v1", "v2": "v2", "v3": "v3", "v2_v3": "v2_v2r_v3_v3r"}


@pytest.mark.parametrize("which", NAMES)
def test_losses_and_gradients_agree_with_the_published_code(reference_values: dict[str, Any], which: Any) -> None:
    for case in reference_values["soft_q_loss"]:
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
def test_steps_after_the_end_of_an_episode_do_not_change_the_loss(which: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    values, slow = torch.randn(2, 4, 5, generator=generator), torch.randn(2, 4, 5, generator=generator)
    actions, rewards = torch.tensor([[0, 1, 2, 3], [4, 3, 0, 0]]), torch.zeros(2, 4)
    rewards[0, 3], rewards[1, 1], rewards[1, 3] = 2.0, -1.0, 100.0
    is_step = torch.tensor([[True] * 4, [True, True, False, False]])
    both = soft_q_loss(values, slow, actions, rewards, is_step, which)
    one = soft_q_loss(values[:1], slow[:1], actions[:1], rewards[:1], which=which)
    other = soft_q_loss(values[1:, :2], slow[1:, :2], actions[1:, :2], rewards[1:, :2], which=which)
    torch.testing.assert_close(both, (one + other) / 2)
    values[1, 2:, 0] = -torch.inf  # the padded actions cannot be taken in these states
    torch.testing.assert_close(soft_q_loss(values, slow, actions, rewards, is_step, which), both)


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
def test_soft_q_opens_the_lock_unless_the_learning_rate_is_zero(loss: Any) -> None:
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


def test_soft_q_finds_a_known_prompt_of_different_tokens() -> None:
    """The prompt is rows 7, 3, 7.

    A random prompt scores 1/78 and a repeated word at most 2/3; the learner finds all three rows.
    """
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
    with safe_open(tmp_path / "policy.safetensors", "pt") as file:
        saved = {name for name in file.keys() if name.startswith("policy.")}
        assert len(file.metadata()["checkpoint"]) < 3000
    assert saved == {f"policy.{net}.{name}" for net in ("q_net", "q_net_target") for name in trained}


def test_the_network_has_the_published_size() -> None:
    """On distilGPT-2 the layers have 768, 2048 and 768 units, which is 3,148,544 parameters."""
    head = _space().head
    assert head is not None
    assert sum(parameter.numel() for parameter in HeadNet(768, head).parameters()) == 3_148_544


def test_the_target_network_follows_by_polyak_averaging() -> None:
    model = _soft_q(_env(_space()), polyak=0.25, learning_rate=0.01)
    nets = model.policy.q_net, model.policy.q_net_target
    model.learn(16 * 3)  # the copy moves before the step, so after the first it is where it was
    first, slow = (next(net.parameters()).clone() for net in nets)
    model.learn(16 * 3, reset_num_timesteps=False)
    torch.testing.assert_close(next(nets[1].parameters()), 0.75 * slow + 0.25 * first)
    assert not torch.equal(first, slow)


def test_only_the_top_k_actions_are_sampled() -> None:
    space = _space()
    model = SoftQ("SoftQPolicy", _env(space), policy_kwargs={"head": space.head, "top_k": 5}, seed=0, device="cpu")
    probabilities = model.policy.get_distribution(torch.randn(4, 16)).distribution.probs
    assert ((probabilities > 0).sum(-1) == 5).all()


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_callbacks_progress_bar_and_loggers_work(tmp_path: Path, capsys: Any) -> None:
    space = _space()
    model = _soft_q(_env(space))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    callbacks = [
        CheckpointCallback(3, str(tmp_path / "kept")),
        EvalCallback(_env(space), n_eval_episodes=16, eval_freq=3, verbose=0, warn=False),
    ]
    model.learn(16 * 3 * 4, callback=callbacks, progress_bar=True)
    model.logger.close()
    assert len(list((tmp_path / "kept").glob("*_steps.safetensors"))) == 4
    assert np.isfinite(callbacks[1].last_mean_reward) and callbacks[1].last_mean_reward < 0
    written = (tmp_path / "progress.csv").read_text().splitlines()
    assert {"train/loss", "train/value", "eval/mean_reward", "time/total_timesteps"} <= set(written[0].split(","))
    assert len(written) >= 5


def _a2c(env: Any, **fields: Any) -> A2C:
    return A2C("MlpPolicy", env, n_steps=3, seed=0, device="cpu", **fields)


def _ppo(env: PromptVecEnv, **fields: Any) -> PPO:
    kwargs = {"head": env.head} | fields.pop("policy_kwargs", {})
    return PPO(HeadActorCriticPolicy, env, n_steps=3, batch_size=24, seed=0, policy_kwargs=kwargs, device="cpu", **fields)


def _dqn(env: PromptVecEnv) -> DQN:
    return DQN("MlpPolicy", env, buffer_size=500, learning_starts=20, n_steps=2, seed=0, device="cpu")


def _same_weights(one: Any, other: Any) -> bool:
    pairs = zip(one.policy.parameters(), other.policy.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("create", [_soft_q, _ppo, _a2c], ids=["SoftQ", "PPO", "A2C"])
def test_training_continues_from_a_checkpoint_as_if_there_were_no_break(create: Callable[..., Any], tmp_path: Path) -> None:
    """The random numbers are the same, so that the weights are equal bit for bit."""
    model = create(_env(_space(end=True)), learning_rate=0.01, max_grad_norm=float("inf"))
    model.learn(16 * 3 * 3)
    save_checkpoint(model, tmp_path / "policy")
    saved = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(16 * 3 * 3, reset_num_timesteps=False)

    loaded = load_checkpoint(type(model), tmp_path / "policy", _env(_space(end=True)), device="cpu")
    assert all(torch.equal(value, saved[name]) for name, value in loaded.policy.state_dict().items())
    assert not _same_weights(loaded, model)
    loaded.learn(16 * 3 * 3, reset_num_timesteps=False)
    assert _same_weights(loaded, model)
    assert (loaded.num_timesteps, loaded._n_updates) == (model.num_timesteps, model._n_updates)
    seen = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0])

    other = load_checkpoint(type(model), tmp_path / "policy", _env(_space(end=True)), device="cpu", seed=1)
    other.learn(16 * 3 * 3, reset_num_timesteps=False)
    assert not _same_weights(other, model), "with another seed the random numbers are others"


def test_a_checkpoint_of_dqn_has_all_but_the_replay_buffer(tmp_path: Path) -> None:
    model = _dqn(_env(_space(observation="light"))).learn(16 * 12)
    save_checkpoint(model, tmp_path / "policy")
    loaded = load_checkpoint(DQN, tmp_path / "policy", _env(_space(observation="light")), device="cpu", learning_starts=30)
    assert _same_weights(loaded, model) and loaded.policy.optimizer.state_dict()["state"]
    names = ("train_freq", "n_steps", "buffer_size", "num_timesteps", "_n_calls", "_n_updates", "exploration_rate")
    assert all(getattr(loaded, name) == getattr(model, name) for name in names)
    assert loaded.learning_starts == 30 and loaded.replay_buffer.size() == 0 < model.replay_buffer.size()


def test_a_checkpoint_of_another_task_vocabulary_or_observation_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy"
    _soft_q(_env(_space())).save(file)
    with pytest.raises(RequestError, match=r"trained with another task: tiny-classification \w+; this environment has other"):
        SoftQ.load(file, _env(_space(task={"name": "other"})))
    with pytest.raises(RequestError, match=r"trained with another vocabulary: \d+ actions of tiny-gpt2"):
        SoftQ.load(file, _env(_space(label_words=False)))
    with pytest.raises(RequestError, match=r"trained with another observation: state, 3 tokens"):
        SoftQ.load(file, _env(_space(observation="light")))
    with pytest.raises(RequestError, match=r"was saved from SoftQ; PPO cannot load it"):
        load_checkpoint(PPO, file, _env(_space()))


def test_other_environments_are_compared_by_their_spaces(tmp_path: Path) -> None:
    file = tmp_path / "policy"
    model = _a2c(Lock())
    save_checkpoint(model, file)
    assert _same_weights(load_checkpoint(A2C, file, DummyVecEnv([Lock] * 2), device="cpu"), model)
    with pytest.raises(RequestError, match=r"another observation space: Box\(0.0, 1.0, \(16,\), float32\); .* has Box\(\[-4.8"):
        load_checkpoint(A2C, file, gymnasium.make("CartPole-v1"))
    prompts = gymnasium.make("hardprompt/Prompt-v0", task=tiny_task(), lm=tiny_lm("gpt2"), prompt_length=3)
    plain = Lock()
    plain.observation_space, plain.action_space = prompts.observation_space, prompts.action_space
    save_checkpoint(_a2c(plain), file)
    with pytest.raises(RequestError, match=r"another task: none; this environment has tiny-classification"):
        load_checkpoint(A2C, file, prompts)
    save_checkpoint(_a2c(prompts), file)
    load_checkpoint(A2C, file, prompts, device="cpu")
    with pytest.raises(RequestError, match=r"another task: tiny-classification \w+; this environment has none"):
        load_checkpoint(A2C, file, plain)


class OwnPolicy(SoftQPolicy):
    """A policy that this package does not know."""


def test_what_a_checkpoint_cannot_record_has_to_be_passed(tmp_path: Path) -> None:
    def schedule(progress: float) -> float:
        return 0.01 * progress

    file, space = tmp_path / "policy", _space()
    save_checkpoint(_ppo(_env(space), learning_rate=schedule, policy_kwargs={"activation_fn": torch.nn.ReLU}), file)
    with pytest.raises(RequestError, match=r"policy.safetensors lacks activation_fn, learning_rate, which JSON cannot hold"):
        load_checkpoint(PPO, file, _env(space))
    kwargs = {"activation_fn": torch.nn.ReLU}
    assert load_checkpoint(PPO, file, _env(space), learning_rate=schedule, policy_kwargs=kwargs).learning_rate is schedule

    save_checkpoint(SoftQ(OwnPolicy, _env(space), policy_kwargs={"head": space.head}), file)
    with pytest.raises(RequestError, match=r"lacks policy, which JSON cannot hold"):
        SoftQ.load(file, _env(space))
    assert isinstance(SoftQ.load(file, _env(space), policy=OwnPolicy).policy, OwnPolicy)

    save_checkpoint(_a2c(Lock(), use_rms_prop=False), file)
    with pytest.raises(RequestError, match=r"its optimizer is Adam; pass policy_kwargs="):
        load_checkpoint(A2C, file, Lock())
    assert isinstance(load_checkpoint(A2C, file, Lock(), use_rms_prop=False).policy.optimizer, torch.optim.Adam)


class _Touch:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    assert "pickle" not in inspect.getsource(checkpoint)
    created, file = tmp_path / "created", tmp_path / "policy.safetensors"
    planted = base64.b64encode(pickle.dumps(_Touch(created))).decode()
    save_file({}, file, {"checkpoint": planted})
    with pytest.raises(RequestError, match="is damaged or not a checkpoint"):
        SoftQ.load(file, _env(_space()))
    _rewrite(file, lambda settings: settings["arguments"].update(notes={":serialized:": planted}))
    with pytest.raises(RequestError, match=r"cannot be restored: .* unexpected keyword argument 'notes'"):
        SoftQ.load(file, _env(_space()))
    assert not created.exists()


def _rewrite(file: Path, change: Callable[[dict[str, Any]], Any], **tensors: torch.Tensor | None) -> None:
    """Write a checkpoint of `SoftQ` with changed settings and tensors."""
    _soft_q(_env(_space())).save(file)
    with safe_open(file, "pt") as opened:
        settings = json.loads(opened.metadata()["checkpoint"])
        changed: dict[str, Any] = {name: opened.get_tensor(name).clone() for name in opened.keys()} | tensors
    change(settings)
    save_file({name: value for name, value in changed.items() if value is not None}, file, {"checkpoint": json.dumps(settings)})


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.safetensors"
    _soft_q(_env(_space())).save(file)
    whole = file.read_bytes()
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2], whole.replace(b"param_groups", b"param_groupz")):
        file.write_bytes(damaged)
        with pytest.raises(RequestError, match="is damaged or not a checkpoint; expected a file from save_checkpoint"):
            SoftQ.load(file, _env(_space()))
    save_file({"policy.weight": torch.zeros(1)}, file)
    with pytest.raises(RequestError, match="is damaged or not a checkpoint"):
        SoftQ.load(file, _env(_space()))
    with pytest.raises(RequestError, match=r"there is no checkpoint .*none.safetensors"):
        SoftQ.load(tmp_path / "none", _env(_space()))


BEYOND = torch.cat([torch.ones(624, dtype=torch.int64), torch.tensor([10**6])])


@pytest.mark.parametrize(
    ("change", "tensors", "message"),
    [
        (lambda settings: None, {"policy.q_net.mlp.0.bias": None}, "Missing key"),
        (lambda settings: None, {"policy.q_net.mlp.0.bias": torch.zeros(3)}, "size mismatch"),
        (lambda settings: None, {"random.numpy": BEYOND}, "the state of the random generator is damaged"),
        (lambda settings: None, {"random.torch": torch.zeros(3, dtype=torch.uint8)}, "RNG state"),
        (lambda settings: settings.update(param_groups=[]), {}, "parameter group"),
        (lambda settings: settings.update(progress={}), {}, "num_timesteps"),
    ],
)
def test_contents_that_do_not_fit_are_refused(change: Any, tensors: dict[str, Any], message: str, tmp_path: Path) -> None:
    _rewrite(tmp_path / "policy.safetensors", change, **tensors)
    with pytest.raises(RequestError, match=rf"policy.safetensors cannot be restored: [^\n]*{message}[^\n]*$"):
        SoftQ.load(tmp_path / "policy", _env(_space()))
