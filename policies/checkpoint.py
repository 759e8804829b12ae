"""Checkpoints of stable-baselines3 policies, loaded with care.

A checkpoint is a zip whose weights are plain tensors, but whose settings are pickles, which may call anything. Here they may
only name what a policy of this package or of stable-baselines3 needs; anything else is refused unless the file is trusted. A
checkpoint also says for which task, vocabulary and observation it was trained (`sign`), and fits no other environment.
"""

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError

_SB3 = "stable_baselines3.common"
_HARMLESS = {
    "builtins": {"bytearray", "dict", "list", "set", "tuple", "frozenset", "slice", "complex", "object"},
    "collections": {"deque", "OrderedDict", "defaultdict"},
    "gymnasium.spaces.box": {"Box"},
    "gymnasium.spaces.discrete": {"Discrete"},
    "numpy": {"ndarray", "dtype", "float32", "float64", "int64", "bool_", "bool"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.dtypes": {"Float32DType", "Float64DType", "Int64DType", "BoolDType"},
    "numpy.random._generator": {"Generator"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random._pickle": {"__generator_ctor", "__bit_generator_ctor"},
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "stable_baselines3.ppo.ppo": {"PPO"},
    "stable_baselines3.a2c.a2c": {"A2C"},
    "stable_baselines3.dqn.dqn": {"DQN"},
    "stable_baselines3.dqn.policies": {"DQNPolicy"},
    f"{_SB3}.policies": {"ActorCriticPolicy"},
    f"{_SB3}.utils": {"FloatSchedule", "ConstantSchedule", "LinearSchedule"},
    f"{_SB3}.buffers": {"RolloutBuffer", "ReplayBuffer"},
    f"{_SB3}.type_aliases": {"TrainFreq", "TrainFrequencyUnit"},
    f"{_SB3}.torch_layers": {"FlattenExtractor"},
    "torch.optim.adam": {"Adam"},
    "torch.optim.rmsprop": {"RMSprop"},
    "torch.nn.modules.activation": {"ReLU", "Tanh"},
    "hardprompt.policies.networks": {"FrozenHead", "HeadActorCriticPolicy", "SoftQPolicy"},
}


def sign(model: Any, env: Any = None) -> None:
    """Write into a model what its environment is, so that its checkpoints are refused elsewhere; call it before `save`."""
    model.fingerprint = _fingerprint(env or model.env)


def load_checkpoint(
    load: Callable[..., Any], path: str | Path | io.BufferedIOBase, env: Any = None, trust: bool = False, **kwargs: Any
) -> Any:
    """Load a checkpoint through an algorithm's `load`, for example `load_checkpoint(PPO.load, "policy.zip", env)`.

    Args:
        load: of the algorithm's class.
        path: of the file, with or without ".zip".
        env: where the policy is to go on; it must be what it was trained for. Needed where the policy reads a frozen LM.
        trust: whether the checkpoint may run code of its own.
        kwargs: as for `load`.

    Raises:
        RequestError: no such file or no checkpoint, one that would run other code than this package's and stable-baselines3's,
            or one of another task, vocabulary or observation.
    """
    content, name = _read(path)
    data = _settings(content, name)
    if not trust:
        for key, value in data.items():
            if isinstance(value, dict) and ":serialized:" in value:
                _refuse_code(base64.b64decode(value[":serialized:"]), name, key)
    if env is not None and (signed := data.get("fingerprint")):
        _compare(signed, _fingerprint(env), name)
    model = load(io.BytesIO(content), env=env, **kwargs)
    if env is not None:
        _bind(model)
    return model


class _Careful(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _HARMLESS.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _refuse_code(pickled: bytes, name: str, key: str) -> None:
    try:
        _Careful(io.BytesIO(pickled)).load()
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"checkpoint {name}: its {key} would run {error} when loaded; if you made it yourself, load it with trust=True"
        ) from error
    except Exception as error:
        raise RequestError(f"checkpoint {name}: its {key} cannot be read ({type(error).__name__}: {error})") from error


def _read(path: str | Path | io.BufferedIOBase) -> tuple[bytes, str]:
    if isinstance(path, io.BufferedIOBase):
        return path.read(), "(a stream)"
    for file in (Path(path), Path(f"{path}.zip")):
        if file.is_file():
            return file.read_bytes(), str(file)
    raise RequestError(f"no checkpoint {path}")


def _settings(content: bytes, name: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return json.loads(archive.read("data"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise RequestError(f"{name} is no checkpoint of stable-baselines3") from error


def _compare(trained: dict[str, str], given: dict[str, str], name: str) -> None:
    for key, value in trained.items():
        if given.get(key) != value:
            raise RequestError(
                f"checkpoint {name} was trained with another {key}: {value}; this environment has {given.get(key, 'none')}"
            )


def _fingerprint(env: Any) -> dict[str, str]:
    found = env.get_attr("fingerprint")[0] if hasattr(env, "get_attr") else env.get_wrapper_attr("fingerprint")
    return dict(found)


def _bind(model: Any) -> None:
    """Give the frozen LM's output layer back to a policy that was saved without it."""
    from .networks import HeadNet

    for module in model.policy.modules():
        if isinstance(module, HeadNet):
            module.head.bind(model.env.get_attr("head")[0])
