"""The functions return what the published implementations return."""

from typing import Any

import pytest
import torch

from hardprompt.metrics import token_f1
from hardprompt.objective import gap_reward, zscore
from hardprompt.optimizers.pez import pez_steps
from hardprompt.projection import nearest


def test_gap_reward_and_zscore_agree_with_rlprompt(reference_values: dict[str, Any]) -> None:
    for case in reference_values["classification_reward"]:
        logits, labels = torch.tensor(case["verbalizer_logits"]), torch.tensor(case["labels"])
        raw = gap_reward(logits, labels, case["incorrect_coeff"], case["correct_coeff"])
        torch.testing.assert_close(raw, torch.tensor(case["raw_reward"]), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(zscore(raw), torch.tensor(case["zscore"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("measure", "key"), [("cosine", "cosine_ids"), ("euclidean", "euclidean_ids"), ("dot", "dot_ids")])
def test_projection_agrees_with_the_published_code(reference_values: dict[str, Any], measure: Any, key: str) -> None:
    for case in reference_values["projection"]:
        found = nearest(torch.tensor(case["prompt_embeds"]), torch.tensor(case["vocab_embeds"]), measure)
        assert found.tolist() == case[key]


def test_pez_follows_the_published_trajectory(reference_values: dict[str, Any]) -> None:
    case = reference_values["pez_trajectory"]
    vocab, target, linear = (torch.tensor(case[key]) for key in ("vocab_embeds", "target", "map"))
    embeds = torch.tensor(case["init"]).requires_grad_()
    updater = torch.optim.AdamW([embeds], lr=0.1, weight_decay=0.1)
    steps = pez_steps(embeds, vocab, lambda hard, rows: (hard @ linear - target).square().mean(), updater)
    walked = [next(steps) for _ in case["ids_per_step"]]
    assert [step.rows.tolist() for step in walked] == case["ids_per_step"]
    losses = torch.tensor([step.loss for step in walked])
    torch.testing.assert_close(losses, torch.tensor(case["loss_per_step"]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(embeds.detach(), torch.tensor(case["final"]), rtol=1e-4, atol=1e-4)


def test_projected_sgd_of_the_released_script_follows_another_trajectory(reference_values: dict[str, Any]) -> None:
    """Projecting the stored prompt after every step is projected SGD: each step starts at vocabulary rows."""
    case = reference_values["pez_trajectory"]
    vocab, target, linear = (torch.tensor(case[key]) for key in ("vocab_embeds", "target", "map"))
    embeds = torch.tensor(case["init"]).requires_grad_()
    updater = torch.optim.AdamW([embeds], lr=0.1, weight_decay=0.1)
    loss_at = lambda hard, rows: (hard @ linear - target).square().mean()  # noqa: E731
    walked = []
    for step, _ in zip(pez_steps(embeds, vocab, loss_at, updater, reproject=True), case["ids_per_step"], strict=False):
        walked.append(step.rows.tolist())
        assert torch.equal(embeds.detach(), vocab[nearest(embeds.detach(), vocab)])
    assert walked != case["ids_per_step"]


def test_token_f1_agrees_with_khashabi(reference_values: dict[str, Any]) -> None:
    for case in reference_values["token_f1"]:
        assert token_f1(case["prediction"], case["target"]) == pytest.approx(case["f1"], abs=1e-12), case
