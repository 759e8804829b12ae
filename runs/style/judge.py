"""Judge the prompts of a study of style transfer by what the model writes with them, for smollm2.md.

    python runs/style/judge.py STUDY [--dtype bfloat16] [--sentences 40] [--outputs 4] [--threads 2]

STUDY is a folder of `hardprompt run runs/style/smollm2.yaml`. With each text, SmolLM2 rewrites test sentences in a chat.
Content is the cosine of the embeddings of output and sentence (`EncoderContent`), style the probability of "positive" under a
logistic regression on the same embeddings, which is fitted on 3,000 sentences of each label of Yelp's dev part and tested on
1,000, and "both" is the mean product of the two, all in points. The first rows are the sentences and what people wrote.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from yelp_positive import lines, yelp_positive

from hardprompt import load_lm
from hardprompt.policies.sentence_similarity import EncoderContent
from hardprompt.policies.style import StyleReward

FITTED = 3000


class EncoderStyle:
    """The probability of a positive sentence, by logistic regression on sentence embeddings."""

    def __init__(self, encoder: EncoderContent) -> None:
        self._encoder = encoder
        parts = [lines(f"dev.{label}.txt") for label in (0, 1)]
        self._fit(self._features([*parts[0][:FITTED], *parts[1][:FITTED]]), torch.tensor([0.0, 1.0]).repeat_interleave(FITTED))
        found = [self(part[FITTED:]) for part in parts]
        self.accuracy = float(np.mean([(found[0] < 0.5).mean(), (found[1] > 0.5).mean()]))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """p(positive | text), (N,)."""
        return (self._features(texts) @ self._weights + self._bias).sigmoid().numpy()

    def _features(self, texts: Sequence[str]) -> torch.Tensor:
        parts = [self._encoder.embed(texts[start : start + 500]) for start in range(0, len(texts), 500)]
        return torch.cat(parts)

    def _fit(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        weights, bias = torch.zeros(features.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)
        optimizer = torch.optim.LBFGS([weights, bias], max_iter=200)

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            value = torch.nn.functional.binary_cross_entropy_with_logits(features @ weights + bias, labels)
            value = value + 1e-4 * weights.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        self._weights, self._bias = weights.detach(), bias.detach()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sentences", type=int, default=40)
    parser.add_argument("--outputs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    encoder = EncoderContent()
    style = EncoderStyle(encoder)
    print(f"the judge of style is right on {style.accuracy:.3f} of 2,000 other sentences\n")
    lm = load_lm("smollm2", dtype=given.dtype)
    turn = yelp_positive("default").template.text
    reward = StyleReward(lm, style, encoder, template=turn, chat=True, samples=given.outputs, bootstraps=1)
    test = yelp_positive("default").test[: given.sentences]
    sources, people = [example.input for example in test], [example.answer for example in test]

    def cells(outputs: Sequence[str], sources: Sequence[str]) -> str:
        judged = reward.judge(outputs, sources)
        both = judged["content"] * judged["style"] / 100
        return " | ".join(f"{values.mean():.1f}" for values in (judged["content"], judged["style"], both))

    print("| text | weight, seed | loss of what people wrote | nats per token | content | style | both | one output |")
    print("|---|---|---|---|---|---|---|---|")
    print(f"| the sentences themselves | | | | {cells(sources, sources)} | {sources[0]} |")
    print(f"| what people wrote | | | | {cells(people, sources)} | {people[0]} |")
    file = next(given.study.rglob("points.jsonl"))
    points = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    points = [point for point in points if point["optimizer"] != "soft"]
    texts = list(dict.fromkeys([*yelp_positive("default").reference_prompts, *(point["prompt_text"] for point in points)]))
    drawn = reward.rewrite([(text, source) for text in texts for source in sources], given.outputs)
    repeated = [source for source in sources for _ in range(given.outputs)]
    outputs = {text: drawn[i * len(repeated) : (i + 1) * len(repeated)] for i, text in enumerate(texts)}
    for text in yelp_positive("default").reference_prompts:
        print(f"| *{text}* | a person's | | | {cells(outputs[text], repeated)} | {outputs[text][0]} |")
    for point in points:
        text, nll = point["prompt_text"], point["log_perplexity"]
        head = (
            f"{point['optimizer']}: *{text.strip()}*",
            f"{point['weight']:g}, {point['seed']}",
            f"{point['deployed_test_loss']:.2f}",
            "" if nll is None else f"{nll:.2f}",
        )
        print(f"| {' | '.join(head)} | {cells(outputs[text], repeated)} | {outputs[text][0]} |".replace("\n", " "))


if __name__ == "__main__":
    main()
