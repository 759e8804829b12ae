"""The output layer of a model: where its forward pass is stopped, and how features become logits.

The features are the vectors that the output embeddings W (V, d) are applied to. They are taken at the output layer of the
model's own forward pass, so that everything before it, such as the prediction head of a masked model, belongs to the features.
Afterwards a model may add a bias, multiply its logits by a number (Cohere, Granite), and cap them (Gemma 2):

    logits = cap tanh(scale (W features + b) / cap)
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardprompt.errors import LMError

TOLERANCE = 1e-4
"""Largest relative difference of numbers that count as equal, for 32-bit floats."""


class OutputLayer:
    """The output layer of a Hugging Face model.

    Args:
        model: the model.
        name: its name in messages.

    Attributes:
        weight: the output embeddings W, (V, d).
        bias: the bias b, (V,), or None.
        scale: the factor of the logits.
        cap: the largest absolute value of a logit, or None.
        further_bias: number of the bias of the model that is added to that of the output layer, from 1; 0 for none.

    Raises:
        LMError: the model has no output layer.
    """

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self._name = f"{name} ({type(model).__name__})"
        self._module: nn.Module = model.get_output_embeddings()
        if not isinstance(getattr(self._module, "weight", None), Tensor):
            raise LMError(
                f"{self._name} has no output layer over its vocabulary, so it predicts no tokens; use a language model"
            )
        self._is_after_module = False
        self.weight: Tensor = self._module.weight
        self.bias: Tensor | None = getattr(self._module, "bias", None)
        self.scale = 1.0
        self.cap: float | None = None
        self.further_bias = 0
        predictions: Any = getattr(getattr(model, "cls", None), "predictions", None)
        if model.config.model_type == "mobilebert":  # one part of W is tied, the other is not
            self._module, self._is_after_module = predictions.transform, True
            self.weight = torch.cat([predictions.decoder.weight, predictions.dense.weight.t()], 1)
            self.bias = predictions.decoder.bias

    def features(self, forward: Callable[[], Any]) -> Tensor:
        """The features (B, T, d) of a forward pass, which is stopped when it reaches the output layer."""
        own = self._module.forward
        replaced = vars(self._module).get("forward")

        def stop(states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            raise _Reached(own(states, *args, **kwargs) if self._is_after_module else states)

        vars(self._module)["forward"] = stop
        try:
            forward()
        except _Reached as reached:
            return reached.features
        finally:
            del vars(self._module)["forward"]
            if replaced is not None:
                vars(self._module)["forward"] = replaced
        raise LMError(f"the forward pass of {self._name} does not use its output layer, which is not supported")

    def plain(self, forward: Callable[[], Any]) -> tuple[Tensor, Tensor]:
        """The features (B, T, d) and the logits (B, T, V) of a whole forward pass."""
        seen: list[Tensor] = []
        hook = self._module.register_forward_hook(
            lambda _, given, found: seen.append(found if self._is_after_module else given[0])
        )
        try:
            logits = forward().logits
        finally:
            hook.remove()
        if not seen or seen[-1].shape != (*logits.shape[:-1], self.weight.shape[1]):
            raise LMError(f"the forward pass of {self._name} does not use its output layer, which is not supported")
        return seen[-1], logits

    def logits(self, features: Tensor, columns: Tensor | None = None) -> Tensor:
        """Logits (..., V) of features (..., d), or (..., C) of the tokens in `columns` only."""
        weight, bias = self.weight, self.bias
        if columns is not None:
            weight, bias = weight[columns], None if bias is None else bias[columns]
        features = features.contiguous()  # a slice in bfloat16 takes 60 times as long on a CPU
        return self.transformed(nn.functional.linear(features, weight, bias))

    def transformed(self, products: Tensor) -> Tensor:
        """The logits that a model makes of W features + b: scaled and capped."""
        scaled = products if self.scale == 1.0 else products * self.scale
        return scaled if self.cap is None else torch.tanh(scaled / self.cap) * self.cap

    def fit(self, features: Tensor, logits: Tensor) -> None:
        """Find the bias, the scale and the cap from features (B, T, d) and the logits (B, T, V) that the model makes of them.

        Raises:
            LMError: the logits are none of these functions of the features.
        """
        expected = logits.float()
        for number, bias in enumerate(self._biases()):
            products = nn.functional.linear(features, self.weight, bias).float()
            for cap in self._caps():
                uncapped = expected if cap is None else cap * torch.atanh((expected / cap).clamp(-0.9999, 0.9999))
                inside = torch.ones_like(expected) if cap is None else (expected.abs() < 0.99 * cap).float()
                scale = float((uncapped * products * inside).sum() / (products.square() * inside).sum().clamp(min=1e-30))
                self.scale, self.cap = self._exact(scale, logits.dtype), cap
                if same(self.transformed(products), expected, logits.dtype):
                    self.bias, self.further_bias = bias, number
                    return
        raise LMError(
            f"{self._name} does more to its logits than a bias, a scale and a soft cap, which is not supported; "
            "use another model"
        )

    def set(self, further_bias: int, scale: float, cap: float | None) -> None:
        """Set what `fit` found before."""
        self.bias, self.further_bias, self.scale, self.cap = self._biases()[further_bias], further_bias, scale, cap

    def _biases(self) -> list[Tensor | None]:
        """The bias of the output layer, and this bias plus another one of the model, such as `final_logits_bias` of BART."""
        named = [*self._model.named_parameters(), *self._model.named_buffers()]
        size = self.weight.shape[0]
        others = [t.detach().view(-1) for name, t in named if "bias" in name and t.numel() == size and t is not self.bias]
        return [self.bias, *(other if self.bias is None else self.bias + other for other in others)]

    def _caps(self) -> list[float | None]:
        return [
            None,
            *(value for name, value in self._numbers().items() if "softcap" in name.replace("_", "") and "attn" not in name),
        ]

    def _exact(self, scale: float, dtype: torch.dtype) -> float:
        """The number in the configuration, or its inverse, that a scale is which was measured in a number format."""
        for value in (1.0, *self._numbers().values()):
            for exact in (value, 1 / value):
                if abs(scale / exact - 1) < max(TOLERANCE, 4 * torch.finfo(dtype).eps):
                    return exact
        return scale

    def _numbers(self) -> dict[str, float]:
        config = self._model.config.get_text_config(decoder=True).to_dict()
        return {name: float(n) for name, n in config.items() if isinstance(n, int | float) and not isinstance(n, bool) and n}


class _Reached(Exception):
    """Carries the features out of a forward pass."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


def same(found: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether numbers are equal to the expected ones, up to rounding in their type.

    The difference is compared with the spread of the expected numbers, which is their distance from their mean.
    """
    tolerance = max(TOLERANCE, 4 * torch.finfo(dtype or found.dtype).eps)
    expected = expected.float()
    return bool((found.float() - expected).norm() <= tolerance * (expected - expected.mean()).norm())
