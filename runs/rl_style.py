"""A small study of style transfer on Yelp, with RLPrompt's reward, a perplexity term and PPO.

    python runs/rl_style.py DATA MODELS [--rollouts 12] [--weights 0 2 8] [--seeds 0 1]

Negative sentences are rewritten as positive ones. DATA is the folder of the sentences (`dev.0.txt`, `test.0.txt`, ...). MODELS
is the folder of `english-mini`, which rewrites the sentences, and `english-mini-reader`, which measures the style by the
probability of label words; chrF measures the content.

PPO and random search write the same number of prompts of three words. Each rollout is scored on two sentences, and its best
prompt on eight others. The prompt that is best on these is measured on 20 test sentences. A weight is the number of points of
reward that are subtracted for each nat per token of prompt NLL, in all rewards except those on test.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO

import hardprompt as hp
from hardprompt.lm.perplexity import log_perplexity
from hardprompt.policies.reward import Reward
from hardprompt.policies.space import PromptSpace
from hardprompt.policies.style import LMStyle, StyleReward, zscore_by_input
from hardprompt.policies.vec_env import PromptVecEnv

PROMPTS, INPUTS, DEV, TEST = 16, 2, 8, 20


def sentences(file: Path, count: int) -> list[hp.Example]:
    """The first sentences of 5 to 12 words."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [hp.Example(line, "-") for line in lines if 5 <= len(line.split()) <= 12][:count]


def nll(lm: hp.FrozenLM, texts: list[str]) -> np.ndarray:
    """The NLL of each text, in nats per token; 0 for an empty text."""
    ids = [lm.encode(text) for text in texts]
    return np.array([log_perplexity(lm, each) if each else 0.0 for each in ids])


def search(name: str, learning_rate: float, task: hp.Task, reward: StyleReward, rollouts: int, weight: float, seed: int) -> str:
    """Among the best prompts of the rollouts, the one with the highest reward on dev, minus its weighted NLL."""
    problem = hp.Problem(task, reward.lm, prompt_length=3, seed=seed)
    dev: dict[str, float] = {}

    def learnt(prompts: list[list[int]]) -> Reward:
        texts = [reward.lm.decode(ids).strip() for ids in prompts]
        price = weight * nll(reward.lm, texts)
        maxima = reward.maxima(texts, [task.train[i] for i in problem.batch(INPUTS)])  # (P, N, bootstraps)
        maxima -= price[:, None, None]
        means = maxima.mean(-1)
        zscores = [zscore_by_input(means[:, n], [maxima[:, n]], [0] * len(texts)) for n in range(INPUTS)]
        at = int(means.mean(1).argmax())
        best = texts[at]
        dev.setdefault(best, float(reward([best], list(task.dev)).mean() - price[at]))
        print(f"{name} {len(dev):3d}  reward {means.mean():.2f}  best on dev {max(dev.values()):.2f}  {best}", flush=True)
        return Reward(np.mean(zscores, axis=0).astype(np.float32))

    env = PromptVecEnv(PromptSpace(problem), learnt, PROMPTS)
    model = PPO("MlpPolicy", env, learning_rate=learning_rate, n_steps=3, batch_size=3 * PROMPTS, n_epochs=4, gamma=1.0,
                gae_lambda=1.0, ent_coef=0.05, seed=seed, device="cpu")  # fmt: skip
    model.learn(3 * PROMPTS * rollouts)
    return max(dev, key=dev.__getitem__)


def main() -> None:
    """Search for prompts, and measure them on test."""
    parser = argparse.ArgumentParser(prog="python runs/rl_style.py")
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--rollouts", type=int, default=12)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    lm, judge = (hp.load_lm(str(args.models / name), device="cpu") for name in ("english-mini", "english-mini-reader"))
    style = LMStyle(judge, ("great", "terrible"), "{text} overall , it was")
    bad, good = (style([e.input for e in sentences(args.data / f"dev.{label}.txt", 200)]) for label in (0, 1))
    print(f"the judge is right on {np.mean([(bad < 0.5).mean(), (good > 0.5).mean()]):.3f} of 400 dev sentences")
    train = sentences(args.data / "dev.0.txt", 16 + DEV)
    task = hp.Task(name="yelp-positive", template=hp.Template("{prompt} {input}"), train=train[:16], dev=train[16:],
                   test=sentences(args.data / "test.0.txt", TEST))  # fmt: skip
    reward = StyleReward(lm, style, samples=4, bootstraps=2)
    found = {"none": "", "a person's": "say it again , but happy and positive :"}
    for seed in args.seeds:
        for weight in args.weights:
            for name, rate in (("random", 0.0), ("ppo", 0.01)):
                said = f"{name} w={weight:g} seed {seed}"
                found[said] = search(said, rate, task, reward, args.rollouts, weight, seed)
    kept = reward.judge([e.input for e in task.test], [e.input for e in task.test])
    print(f"the sentences themselves: content {kept['content'].mean():.1f}  style {kept['style'].mean():.1f}")
    for name, prompt in found.items():
        outputs = reward.rewrite([(prompt, e.input) for e in task.test], 8)
        judged = reward.judge(outputs, [e.input for e in task.test for _ in range(8)])
        both = (judged["content"] * judged["style"] / 100).mean()
        best = reward([prompt], list(task.test)).mean()
        print(f"{name:18s} nats per token {nll(lm, [prompt])[0]:5.2f}  reward {best:.2f}", end="  ")
        print(f"one output: content {judged['content'].mean():.1f}", end="  ")
        print(f"style {judged['style'].mean():.1f}  product {both:.1f}  {prompt!r}: {task.test[0].input!r} -> {outputs[0]!r}")


if __name__ == "__main__":
    main()
