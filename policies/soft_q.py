"""Soft Q-learning as a stable-baselines3 algorithm: on-policy and on whole episodes, as in RLPrompt (Deng et al. 2022).

Each update plays one episode per environment, moves the target network towards the Q network, and takes one gradient step on
`losses.soft_q_loss` of those episodes. The loss uses the values of all actions; only the top k actions are sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import obs_as_tensor, polyak_update, safe_mean
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .checkpoint import load_checkpoint, save_checkpoint
from .losses import LossName, soft_q_loss
from .networks import SoftQPolicy


@dataclass
class _Episode:
    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)


class SoftQ(BaseAlgorithm):
    """On-policy soft Q-learning (Guo et al. 2021; Deng et al. 2022) for discrete actions.

    Args:
        policy: "SoftQPolicy" or a subclass of it. With `policy_kwargs={"head": ...}` the policy is RLPrompt's network.
        env: an environment or a vector environment with finite episodes. A step with `waiting` in its info is not part of the
            episode; its reward is added to the last step.
        learning_rate: learning rate of Adam, by default RLPrompt's.
        loss: "v1", "v2", "v3", or "v2_v3" (the mean of v2 and v3, RLPrompt's default).
        polyak: the share of the Q network in each update of the target network.
        max_grad_norm: the norm to which gradients are clipped.
        stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device: as in stable-baselines3.

    Example:
        >>> import gymnasium, hardprompt.policies
        >>> from hardprompt.policies.soft_q import SoftQ
        >>> env = gymnasium.make("hardprompt/Prompt-v0", task="plural", prompt_length=2)
        >>> SoftQ("SoftQPolicy", env, seed=0).learn(4).num_timesteps
        4
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"SoftQPolicy": SoftQPolicy}
    policy: SoftQPolicy
    _last_obs: Any

    def __init__(
        self,
        policy: str | type[SoftQPolicy],
        env: Any,
        learning_rate: Any = 5e-5,
        loss: LossName = "v2_v3",
        polyak: float = 0.001,
        max_grad_norm: float = 5.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Discrete,),
        )
        self.loss, self.polyak, self.max_grad_norm = loss, polyak, max_grad_norm
        self._open: list[_Episode] = []
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        made = self.policy_class(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs)
        self.policy = made.to(self.device)
        self._open = []

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int = 1,
        tb_log_name: str = "SoftQ",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "SoftQ":
        """Train for at least `total_timesteps` steps, or until a callback stops the training."""
        total_timesteps, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        callback.on_training_start(locals(), globals())
        updates = 0
        while self.num_timesteps < total_timesteps:
            episodes = self._play(callback)
            if episodes is None:
                break
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self.train(episodes)
            updates += 1
            if log_interval and updates % log_interval == 0:
                self.dump_logs(updates)
        callback.on_training_end()
        return self

    def _play(self, callback: BaseCallback) -> list[_Episode] | None:
        """Return one finished episode per environment. Unfinished episodes continue at the next update."""
        assert self.env is not None
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        if len(self._open) != self.n_envs or self.num_timesteps == self._num_timesteps_at_start:
            self._open = [_Episode() for _ in range(self.n_envs)]
        finished: list[_Episode] = []
        while len(finished) < self.n_envs:
            observations = self._last_obs
            with torch.no_grad():
                actions = self.policy(obs_as_tensor(observations, self.device)).cpu().numpy()
            self._last_obs, rewards, dones, infos = self.env.step(actions)
            self.num_timesteps += self.n_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return None
            self._update_info_buffer(infos, dones)
            for i, episode in enumerate(self._open):
                if infos[i].get("waiting"):
                    episode.rewards[-1] += float(rewards[i])
                else:
                    episode.observations.append(observations[i])
                    episode.actions.append(int(actions[i]))
                    episode.rewards.append(float(rewards[i]))
                if dones[i]:
                    finished.append(episode)
                    self._open[i] = _Episode()
        callback.on_rollout_end()
        return finished

    def train(self, episodes: Sequence[_Episode]) -> None:
        """Make one update on finished episodes: the target network first, then a gradient step on the loss."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        polyak_update(self.policy.q_net.parameters(), self.policy.q_net_target.parameters(), self.polyak)
        observations = self._padded([np.stack(e.observations) for e in episodes])
        actions = self._padded([np.array(e.actions) for e in episodes])
        rewards = self._padded([np.array(e.rewards, dtype=np.float32) for e in episodes])
        lengths = torch.tensor([len(e.actions) for e in episodes], device=self.device)
        is_step = torch.arange(actions.shape[1], device=self.device) < lengths[:, None]
        values = self._values(self.policy.q_net, observations)
        with torch.no_grad():
            slow = self._values(self.policy.q_net_target, observations)
        loss = soft_q_loss(values, slow, actions, rewards, is_step, self.loss)
        self.policy.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.q_net.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", loss.item())
        self.logger.record("train/value", values.detach().logsumexp(-1)[is_step].mean().item())

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the values that were logged since the last call."""
        if self.ep_info_buffer:
            self.logger.record("rollout/ep_rew_mean", safe_mean([info["r"] for info in self.ep_info_buffer]))
            self.logger.record("rollout/ep_len_mean", safe_mean([info["l"] for info in self.ep_info_buffer]))
        self.logger.record("time/iterations", iteration, exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint; see `checkpoint.save_checkpoint`. It is not the zip file of stable-baselines3."""
        save_checkpoint(self, path)

    @classmethod
    def load(cls, path: str | Path, env: Any, **arguments: Any) -> "SoftQ":
        """Read a checkpoint; see `checkpoint.load_checkpoint`."""
        return load_checkpoint(cls, path, env, **arguments)

    def _values(self, net: torch.nn.Module, observations: Tensor) -> Tensor:
        return net(observations.flatten(0, 1)).unflatten(0, observations.shape[:2])

    def _padded(self, parts: Sequence[np.ndarray]) -> Tensor:
        return pad_sequence([torch.from_numpy(part).to(self.device) for part in parts], batch_first=True)
