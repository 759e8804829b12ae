"""Checkpoints of policies: one safetensors file with the weights, the state of the optimizer and, as JSON, the settings.

A checkpoint holds only tensors and plain values, so reading one never runs code. It records the task, the vocabulary and the
observation that the policy was trained for. It does not hold the frozen LM, whose output layer the environment provides.
"""

import inspect
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from hardprompt.errors import RequestError

from .networks import HeadActorCriticPolicy

_NOT_RECORDED = {"policy", "policy_kwargs", "env", "device", "tensorboard_log"}
_PROGRESS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="constants")

    algorithm: str
    policy: str
    arguments: dict[str, JsonValue]  # of the algorithm and of its policy
    omitted: list[str]  # arguments that JSON cannot hold
    progress: dict[str, int | float]
    optimizer: str
    param_groups: list[dict[str, Any]]
    environment: dict[str, str]
    versions: dict[str, str]


def save_checkpoint(model: BaseAlgorithm, path: str | Path) -> None:
    """Save a policy and the progress of its training.

    The file holds the weights, the state of the optimizer, the arguments of the algorithm, the number of timesteps and, if the
    algorithm has a seed, the state of the random generators of NumPy and of torch on the CPU. A model that is saved between two
    calls of `learn` continues as if there had been no break, with these exceptions: the replay buffer of DQN and the random
    generators of the environment are not saved, and on a GPU the random numbers start again from the seed.

    Args:
        model: PPO, A2C or DQN of stable-baselines3, or `SoftQ`.
        path: the file. The suffix ".safetensors" is added; it replaces the ".zip" that callbacks of stable-baselines3 add.

    Example:
        >>> import gymnasium, tempfile, hardprompt.policies
        >>> from stable_baselines3 import PPO
        >>> env = gymnasium.make("hardprompt/Prompt-v0", task="plural", prompt_length=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_checkpoint(PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu").learn(8), f"{folder}/policy")
        ...     model = load_checkpoint(PPO, f"{folder}/policy", env, device="cpu")
        >>> model.learn(8, reset_num_timesteps=False).num_timesteps
        16
    """
    optimizer = model.policy.optimizer.state_dict()
    arguments = {name: _argument(model, name) for name in _names(type(model)) if hasattr(model, name)}
    arguments |= {k: v for k, v in model.policy_kwargs.items() if k not in ("optimizer_class", "optimizer_kwargs")}
    settings = _Settings(
        algorithm=type(model).__name__,
        policy=type(model.policy).__name__,
        arguments={name: value for name, value in arguments.items() if _is_plain(value)},
        omitted=[name for name, value in arguments.items() if not _is_plain(value)],
        progress={name: getattr(model, name) for name in _PROGRESS if hasattr(model, name)},
        optimizer=type(model.policy.optimizer).__name__,
        param_groups=optimizer["param_groups"],
        environment=_fingerprint(model.env),
        versions={name: version(name) for name in ("hardprompt", "stable-baselines3", "torch")},
    )
    tensors = {f"policy.{name}": value.clone() for name, value in model.policy.state_dict().items()}  # some may share memory
    for index, state in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    if model.seed is not None:
        _, key, position, *_ = np.random.get_state()
        tensors["random.numpy"] = torch.from_numpy(np.append(key, position).astype(np.int64))
        tensors["random.torch"] = torch.get_rng_state()
    file = _file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.tmp")
    save_file(tensors, unfinished, metadata={"checkpoint": settings.model_dump_json()})
    unfinished.replace(file)


def load_checkpoint(algorithm: type[BaseAlgorithm], path: str | Path, env: Any, **arguments: Any) -> Any:
    """Load a policy and the progress of its training from a file of `save_checkpoint`.

    Args:
        algorithm: the class of the saved model, for example `PPO`.
        path: the file, with or without its suffix.
        env: an environment with the same task, vocabulary, observation and spaces as in training.
        arguments: for the algorithm, instead of the recorded ones. `device` and `tensorboard_log` are not recorded, nor is an
            argument that JSON cannot hold, such as a schedule of the learning rate. With another `seed`, the random generators
            are seeded with it and not restored.

    Returns:
        The model.

    Raises:
        RequestError: there is no such file, it is not a checkpoint, it is from another algorithm or environment, or an argument
            that is not recorded is missing.
    """
    file = _file(path)
    settings, tensors = _read(file)
    if settings.algorithm != algorithm.__name__:
        raise RequestError(f"checkpoint {file} was saved from {settings.algorithm}; {algorithm.__name__} cannot load it")
    env = algorithm._wrap_env(env)
    trained, given = settings.environment, _fingerprint(env)
    for key in trained | given:
        if trained.get(key) != given.get(key):
            raise RequestError(
                f"checkpoint {file} was trained with another {key}: {trained.get(key, 'none')}; "
                f"this environment has {given.get(key, 'none')}"
            )
    known = *algorithm.policy_aliases.values(), HeadActorCriticPolicy
    policies = {policy.__name__: policy for policy in known}
    if settings.policy in policies:
        arguments.setdefault("policy", policies[settings.policy])
    policy_kwargs = {"head": _attribute(env, "head")} if "head" in settings.omitted else {}
    policy_kwargs |= {name: value for name, value in settings.arguments.items() if name not in _names(algorithm)}
    policy_kwargs |= arguments.pop("policy_kwargs", {})
    if missing := {"policy", *settings.omitted} - arguments.keys() - policy_kwargs.keys():
        raise RequestError(
            f"checkpoint {file} lacks {', '.join(sorted(missing))}, which JSON cannot hold; pass it to load_checkpoint"
        )
    recorded = {name: value for name, value in settings.arguments.items() if name in _names(algorithm)}
    try:
        model = algorithm(env=env, policy_kwargs=policy_kwargs, **recorded | arguments)
        _restore(model, settings, tensors)
    except Exception as error:  # the contents of a damaged file can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RequestError(f"checkpoint {file} cannot be restored: {reason}") from error
    return model


def _file(path: str | Path) -> Path:
    return Path(str(path).removesuffix(".zip").removesuffix(".safetensors") + ".safetensors")


def _read(file: Path) -> tuple[_Settings, dict[str, Tensor]]:
    if not file.is_file():
        raise RequestError(f"there is no checkpoint {file}")
    try:
        with safe_open(file, framework="pt") as opened:
            settings = _Settings.model_validate_json((opened.metadata() or {}).get("checkpoint", ""))
            return settings, {name: opened.get_tensor(name).clone() for name in opened.keys()}  # a copy, not a mapped file
    except (SafetensorError, ValidationError) as error:
        raise RequestError(f"{file} is damaged or not a checkpoint; expected a file from save_checkpoint") from error


def _restore(model: BaseAlgorithm, settings: _Settings, tensors: dict[str, Tensor]) -> None:
    optimizer, groups = model.policy.optimizer, settings.param_groups
    if type(optimizer).__name__ != settings.optimizer:
        raise ValueError(f"its optimizer is {settings.optimizer}; pass policy_kwargs={{'optimizer_class': ...}}")
    states = {i: _part(tensors, f"optimizer.{i}.") for group in groups for i in group["params"]}
    model.policy.load_state_dict(_part(tensors, "policy."))
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    for name in _PROGRESS:
        if hasattr(model, name):
            setattr(model, name, settings.progress[name])
    if model.seed is not None and model.seed == settings.arguments.get("seed"):
        *key, position = tensors["random.numpy"].tolist()
        if not 0 <= position <= 624:  # NumPy accepts any position, and would then read outside of its 624 numbers
            raise ValueError("the state of the random generator is damaged")
        np.random.set_state(("MT19937", np.array(key, dtype=np.uint32), position, 0, 0.0))
        torch.set_rng_state(tensors["random.torch"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _names(algorithm: type[BaseAlgorithm]) -> list[str]:
    return [name for name in inspect.signature(algorithm).parameters if name not in _NOT_RECORDED]


def _argument(model: BaseAlgorithm, name: str) -> Any:
    """The argument with which the model was created; algorithms replace some of them by objects."""
    match getattr(model, name):
        case FloatSchedule(value_schedule=ConstantSchedule(val=number)):
            return number
        case TrainFreq(frequency=steps, unit=TrainFrequencyUnit.STEP):
            return steps
        case type(__module__="stable_baselines3.common.buffers"):
            return None  # the algorithm selects the class itself
        case value:
            return value


def _is_plain(value: Any) -> bool:
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False


def _fingerprint(env: VecEnv) -> dict[str, str]:
    spaces = {"observation space": env.observation_space, "action space": env.action_space}
    return (_attribute(env, "fingerprint") or {}) | {name: " ".join(str(space).split()) for name, space in spaces.items()}


def _attribute(env: VecEnv, name: str) -> Any:
    return env.get_attr(name)[0] if env.has_attr(name) else None
