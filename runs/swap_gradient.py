"""How well does the gradient at a prompt predict what a swap of one token does to the loss?

    python runs/swap_gradient.py --lm microworld --task currency
    python runs/swap_gradient.py --lm smollm2 --task sst2 --data DATA --split 13 --template 'Review: {input}\\n{prompt}'

PEZ follows the gradient at a projected prompt, and GCG and AutoPrompt rank swaps by its linear prediction g . (e_new - e_old).
For random prompts, this script draws swaps from all allowed tokens and from the 256 with the best predictions at their place.
It prints, over prompts, the mean Spearman correlation of predicted and measured changes of the loss among random swaps, and for
both sources the mean change, the least change of the drawn swaps, and the share of swaps that lower the loss.
"""

import argparse

import torch

from hardprompt.optimizers import Problem
from hardprompt.records.request import StudyRequest
from hardprompt.study.loading import load_model, load_tasks


def spearman(one: torch.Tensor, other: torch.Tensor) -> float:
    """The correlation of ranks."""
    ranks = torch.stack([one.argsort().argsort().float(), other.argsort().argsort().float()])
    return float(torch.corrcoef(ranks)[0, 1])


def swaps(problem: Problem, count: int, top: int, examples: int) -> dict[str, float]:
    """The values of one random prompt."""
    chosen = problem.batch(examples)
    ids = problem.random_ids(1)[0]
    vocab = problem.lm.vocab_embeds[problem.allowed].float()
    embeds = problem.lm.vocab_embeds[ids].float().requires_grad_()
    loss = problem.train.score_embeds(embeds, chosen).loss.mean()
    (gradient,) = torch.autograd.grad(loss, embeds)
    predicted = gradient @ vocab.T - (gradient * embeds.detach()).sum(-1, keepdim=True)
    best = predicted.topk(min(top, len(vocab)), largest=False).indices
    places = torch.randint(len(ids), (2, count), generator=problem.generator)
    rows = torch.stack(
        [
            torch.randint(len(vocab), (count,), generator=problem.generator),
            best[places[1], torch.randint(best.shape[1], (count,), generator=problem.generator)],
        ]
    )
    changed = []
    for place, row in zip(places.flatten().tolist(), rows.flatten().tolist(), strict=True):
        prompt = ids.tolist()
        prompt[place] = int(problem.allowed[row])
        changed.append(prompt)
    measured = (problem.train.score_ids(changed, chosen).mean_loss - loss.item()).view(2, count)
    found = {"spearman": spearman(predicted[places[0], rows[0]], measured[0])}
    for name, change in zip(("random", "gradient"), measured, strict=True):
        found |= {
            f"{name}_mean": float(change.mean()),
            f"{name}_least": float(change.min()),
            f"{name}_lower": float((change < 0).float().mean()),
        }
    return found


def main() -> None:
    """Print the means over prompts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lm", default="microworld")
    parser.add_argument("--task", default="currency")
    parser.add_argument("--data")
    parser.add_argument("--split", default="default")
    parser.add_argument("--template")
    parser.add_argument("--label-words", default="")
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--swaps", type=int, default=64, help="from each source, for each prompt")
    parser.add_argument("--top", type=int, default=256)
    parser.add_argument("--examples", type=int, default=16)
    given = parser.parse_args()
    words = dict(pair.split("=") for pair in given.label_words.split(",") if pair)
    fields = {"template": given.template, "label_words": words, "data": given.data}
    request = StudyRequest.make(
        task=given.task, lm=given.lm, splits=(given.split,), **{name: value for name, value in fields.items() if value}
    )
    [task] = load_tasks(request).values()
    lm = load_model(request)
    found = [swaps(Problem(task, lm, seed=seed), given.swaps, given.top, given.examples) for seed in range(given.prompts)]
    print(f"{given.lm}, {given.task}: {given.prompts} random prompts, {given.swaps} swaps from each source")
    for name in found[0]:
        values = torch.tensor([each[name] for each in found])
        print(f"{name:15} {values.mean():+.3f} (standard error {values.std() / len(values) ** 0.5:.3f})")


if __name__ == "__main__":
    main()
