"""A Hugging Face model with a prompt in place: it reads the ids of inputs, and puts the prompt and the template around them."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hardprompt.data.task import Task, Template
from hardprompt.errors import RequestError
from hardprompt.lm.chat import start_ids, template_of
from hardprompt.lm.frozen import FrozenLM
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt

PROMPT_FIRST = Template("{prompt} {input}")

_INPUT = "\ufdd3"
"""Marks the place of the input: a noncharacter of Unicode, which occurs in no text."""


class PromptedModel(nn.Module):
    """A causal model that reads its start tokens, the text of a template, a prompt and the input, as `Scorer` builds its rows.

    Rows are padded on the left, so that the last position of every row predicts its next token.

    Args:
        lm: the model.
        prompt: the prompt.
        template: the template as the model reads it (`hardprompt.lm.chat.template_of`).

    Raises:
        RequestError: the model is not causal, the prompt does not fit it, or it is empty in a chat.
    """

    def __init__(self, lm: FrozenLM, prompt: str | Sequence[int] | HardPrompt | SoftPrompt, template: Template) -> None:
        super().__init__()
        if lm.kind != "causal":
            raise RequestError(f"only a causal model can be wrapped, and {lm.name} is not one ({lm.kind})")
        self.model = lm.model
        self._lm = lm
        own = as_prompt(lm, prompt, template)
        vectors = own.embeds if isinstance(own, SoftPrompt) else self._embed(list(own.ids))
        if template.chat and not len(vectors):
            raise RequestError("the empty prompt has no turn in a chat; give a prompt")
        before, after = template.around(_INPUT)
        if _INPUT in before:
            lead, between = before.split(_INPUT)
            head, tail = [], [self._text(between), vectors, self._text(after)]
        else:
            lead, ends = after.split(_INPUT)
            head, tail = [self._text(before, first=True), vectors], [self._text(ends)]
        head.append(self._text(lead.rstrip(" "), first=not sum(map(len, head))))
        self._blank = lead[len(lead.rstrip(" ")) :]  # belongs to the first token of the input
        self._encode = lm.encode_after if sum(map(len, head)) else lm.encode_many
        self._head, self._tail = torch.cat([self._embed(start_ids(lm, template)), *head]), torch.cat(tail)
        self._takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters

    def tokenize(self, inputs: Sequence[str]) -> dict[str, Tensor]:
        """The ids and the attention mask (B, T) of inputs as they stand in the template, padded on the left."""
        ids = self._encode([self._blank + text for text in inputs])
        longest = max(map(len, ids))
        padded = [[0] * (longest - len(row)) + row for row in ids]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
        device = self._lm.device
        return {"input_ids": torch.tensor(padded, device=device), "attention_mask": torch.tensor(mask, device=device)}

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **arguments: Any) -> Any:
        """The output of the model's forward pass; `logits[:, -1]` predict the next token of each row.

        Args:
            input_ids: ids of the inputs, (B, T), without special tokens.
            attention_mask: 1 for tokens and 0 for padding, (B, T); padding may be on either side.
            arguments: other arguments of the model.
        """
        read = self._read(input_ids, attention_mask)
        if self._takes_positions:
            read["position_ids"] = (read["attention_mask"].cumsum(1) - 1).clamp(min=0)
        self._lm.rules.reset()
        return self.model(**read, **arguments)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **arguments: Any) -> Any:
        """The ids that the model's `generate` returns: only those of new tokens.

        Args:
            input_ids: ids of the inputs, (B, T), without special tokens.
            attention_mask: 1 for tokens and 0 for padding, (B, T); padding may be on either side.
            arguments: other arguments of the model's `generate`, such as `max_new_tokens`.
        """
        self._lm.rules.reset()
        return self.model.generate(**self._read(input_ids, attention_mask), **arguments)

    def _read(self, input_ids: Tensor, attention_mask: Tensor | None) -> dict[str, Tensor]:
        if input_ids.ndim != 2:
            raise RequestError(f"input ids have the shape {tuple(input_ids.shape)}, expected (B, T)")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = [
            torch.cat([self._head, self._lm.embed(ids[kept.bool()]), self._tail])
            for ids, kept in zip(input_ids.to(self._lm.device), mask.to(self._lm.device), strict=True)
        ]
        longest = max(map(len, rows))
        if longest > self._lm.max_length:
            raise RequestError(f"{longest} tokens with the prompt exceed the context of {self._lm.name}, {self._lm.max_length}")
        is_token = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        padded = torch.stack([nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        return {"inputs_embeds": padded, "attention_mask": torch.tensor(is_token, device=padded.device)}

    def _text(self, text: str, first: bool = False) -> Tensor:
        return self._embed((self._lm.encode(text) if first else self._lm.encode_after([text])[0]) if text else [])

    def _embed(self, ids: list[int]) -> Tensor:
        return self._lm.embed(torch.tensor(ids, dtype=torch.long, device=self._lm.device)).detach()


def wrap(
    model: FrozenLM | tuple[Any, Any],
    prompt: str | Sequence[int] | HardPrompt | SoftPrompt,
    task: Task | Template | None = None,
) -> PromptedModel:
    """Put a prompt in place in a model: `forward` and `generate` then read plain ids of inputs.

    Args:
        model: the model, or (model, tokenizer) of transformers, whose parameters then require no gradient.
        prompt: a text, token ids, or a hard or soft prompt.
        task: a task, whose template has the place of prompt and input, or a template; by default the prompt comes first.

    Raises:
        RequestError: the model is not causal, or the prompt does not fit it.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> prompted = wrap(lm, "give the plural", task)
        >>> answers = prompted.generate(**prompted.tokenize(["cat", "dog"]), max_new_tokens=3)
        >>> [lm.decode(ids).strip().split("\\n")[0] for ids in answers.tolist()]
        ['cats', 'dogs']
    """
    if isinstance(model, tuple):
        if len(model) != 2:
            raise RequestError(f"model must be a model and its tokenizer, (model, tokenizer); got {len(model)} objects")
        model = FrozenLM(*model, model[0].name_or_path or type(model[0]).__name__)
    template = template_of(model, task) if isinstance(task, Task) else task or PROMPT_FIRST
    return PromptedModel(model, prompt, template)
