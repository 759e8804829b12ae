"""Chat: the template of a task, rendered by the chat template of a model.

Input and prompt are the content of messages, which the tokenizer renders (`apply_chat_template`) with the generation prompt.
The rendered text has all of its special tokens, so nothing is put before it. `ChatTemplate` finds the parts of the text around
a prompt by rendering a noncharacter in its place, and the text around an answer in the same way. So it works with chat
templates that trim contents, add a system's turn, or separate an answer with a blank.

Some chat templates add the date of today. Here it is always `DATE`, so that a result does not depend on the day.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hardprompt.data.task import Task, Template
from hardprompt.errors import TaskError
from hardprompt.lm.frozen import FrozenLM

DATE = datetime(2024, 7, 26)
"""The date in all chats; the templates of Llama 3.1 and 3.2 use it where none is given."""

_PROMPT, _ANSWER = "\ufdd1", "\ufdd2"
"""Mark the place of a prompt and of an answer in a rendered text: noncharacters of Unicode, which occur in no text."""

_MARKER = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
"""The form of the markers of turns, such as "<|im_start|>" and "[INST]", which some tokenizers read as text."""

_DATE_PARTS = ("%d", "%-d", "%e", "%m", "%-m", "%b", "%B", "%y", "%Y", "%a", "%A", "%j", "%F", "%H", "%I", "%M", "%S", "%p")


@dataclass(frozen=True)
class ChatTemplate(Template):
    """The template of a task in a chat with one model.

    The text of the template is the content of the user's turn. With `turn="system"`, the prompt alone is the content of the
    system's turn, and the user's turn is the template without `{prompt}` and without the blanks or line breaks before it. The
    empty prompt has no system's turn, so that the chat template puts its own default there, if it has one.

    A prompt stands in its turn exactly as it is written. Only a blank before `{prompt}`, of this template or of the chat
    template, belongs to the first token of the prompt, as in `Template`.

    Args:
        text: the text of the task's template.
        lm: the model.
        turn: the turn of the prompt, "user" or "system".
    """

    lm: FrozenLM = field(repr=False)
    turn: Literal["user", "system"] = "user"
    chat: ClassVar[bool] = True

    @property
    def prompt_first(self) -> bool:
        """False: the chat template begins the turn."""
        return False

    @cached_property
    def prompt_blank(self) -> str:
        """The blank before the prompt in the rendered text; "" if there is none."""
        return " " if self._parts("x")[0].endswith(" ") else ""

    @cached_property
    def markers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The markers of turns that the chat template writes, such as "<|im_start|>" or "[INST]"."""
        return tuple(dict.fromkeys(_MARKER.findall(self.fill("x", "x") + self.after_answer)))

    @property
    def answer_blank(self) -> str:
        """The blank that the chat template puts before an answer, which belongs to the answer; "" if there is none."""
        return self._around_answer[1]

    @property
    def after_answer(self) -> str:
        """The text that the chat template puts behind an answer."""
        return self._around_answer[2]

    def blank_before(self, prompt: str) -> str:
        """The blank to put before a prompt: none if it begins with one."""
        return "" if not prompt or prompt[0].isspace() else self.prompt_blank

    def messages(self, input: str, prompt: str) -> list[dict[str, str]]:
        """The conversation up to the answer.

        Example:
            >>> ChatTemplate("{input} {prompt}", None).messages("a lovely film.", "good or bad?")
            [{'role': 'user', 'content': 'a lovely film. good or bad?'}]
            >>> [system, user] = ChatTemplate("{prompt}\\nReview: {input}", None, "system").messages("a lovely film.", "Judge.")
            >>> system["content"], user["content"]
            ('Judge.', 'Review: a lovely film.')
        """
        if prompt.startswith(" ") and self.prompt_blank:
            prompt = prompt[1:]
        if self.turn == "system":
            before, after = self.text.split("{prompt}")
            user = before.rstrip() + after if before.strip() else after.lstrip()
            system = [{"role": "system", "content": prompt}] if prompt else []
            return [*system, {"role": "user", "content": user.replace("{input}", input).rstrip(" ")}]
        before, after = super().around(input)
        blank = "" if not prompt or prompt[0].isspace() else Template(self.text).prompt_blank
        return [{"role": "user", "content": before + blank + prompt + after}]

    def around(self, input: str) -> tuple[str, str]:
        """The rendered texts before and after the prompt for an input, up to the answer."""
        before, after = self._parts(input)
        return before.removesuffix(" "), after + self._around_answer[0]

    def fill(self, input: str, prompt: str) -> str:
        """The whole rendered text up to the answer."""
        return self._render(self.messages(input, prompt)) + self._around_answer[0]

    def answer_ids(self, answers: Sequence[str]) -> list[list[int]]:
        """Token ids of answers in their place."""
        context = self.fill("x", "x")
        texts = [self.answer_blank + answer for answer in answers]
        before, *whole = self.lm.encode_many([context, *(context + text for text in texts)])
        fits = [ids[: len(before)] == before for ids in whole]
        return [
            ids[len(before) :] if fit else self.lm.encode_after([text])[0]
            for ids, fit, text in zip(whole, fits, texts, strict=True)
        ]

    @property
    def end_id(self) -> int | None:
        """The special token that ends an answer; None if the chat template puts none there."""
        ids = self.lm.encode(self.after_answer)
        return ids[0] if ids and ids[0] in self.lm.tokenizer.added_tokens_decoder else None

    @cached_property
    def _around_answer(self) -> tuple[str, str, str]:
        """The text between the generation prompt and an answer, the blank of the answer, and the text after the answer."""
        messages = self.messages("x", _PROMPT)
        asked = self._render(messages)
        told = self._render([*messages, {"role": "assistant", "content": _ANSWER}], answered=True)
        before, mark, after = told.partition(_ANSWER)
        if not mark or not before.startswith(asked):
            raise TaskError(
                f"the chat template of {self.lm.name} asks for an answer in another way than it renders one, "
                "so that no answer can be scored; leave out --chat, or use another model"
            )
        between = before[len(asked) :]
        lead = between.removesuffix(" ")
        return lead, between[len(lead) :], after

    def _parts(self, input: str) -> tuple[str, str]:
        """The rendered texts before and after the prompt."""
        parts = self._render(self.messages(input.replace(_PROMPT, ""), _PROMPT)).split(_PROMPT)
        if len(parts) != 2:
            remedy = "use --prompt-turn user" if self.turn == "system" else "leave out --chat"
            raise TaskError(
                f"the chat template of {self.lm.name} renders the {self.turn}'s turn {len(parts) - 1} times, expected once; "
                f"{remedy}"
            )
        return parts[0], parts[1]

    def _render(self, messages: list[dict[str, str]], answered: bool = False) -> str:
        try:
            return str(
                self.lm.tokenizer.apply_chat_template(
                    messages,
                    chat_template=self._source,
                    tokenize=False,
                    add_generation_prompt=not answered,
                    date_string=DATE.strftime("%d %b %Y"),
                )
            )
        except Exception as error:  # a template may raise any error
            refused = "a system's turn" if self.turn == "system" else "the user's turn"
            remedy = "use --prompt-turn user" if self.turn == "system" else "leave out --chat"
            reason = " ".join(str(error).split())
            raise TaskError(f"the chat template of {self.lm.name} refuses {refused} ({reason}); {remedy}") from error

    @cached_property
    def _source(self) -> str:
        """The source of the chat template, with a fixed date."""
        source = str(self.lm.tokenizer.get_chat_template())
        if "strftime_now" not in source:
            return source
        parts = "".join(f" | replace('{part}', '{DATE.strftime(part)}')" for part in _DATE_PARTS)
        return f"{{% macro strftime_now(format) %}}{{{{ format{parts} }}}}{{% endmacro %}}\n{source}"


def template_of(lm: FrozenLM, task: Task) -> Template:
    """The template of a task as a model reads it: for a chat, as the chat template of the model renders it.

    Raises:
        TaskError: the template is for another kind of model (`Task.template_for`); or the task is a chat, and the model is not
            causal, has no chat template, or has one that cannot render the task.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> template_of(load_lm("microworld"), load_task("plural")).fill("cat", "give the plural")
        'give the plural: cat ='
    """
    if not task.chat:
        return task.template_for(lm.masked)
    if lm.kind != "causal":
        raise TaskError(f"a chat needs a causal model, and {lm.name} is not one ({lm.kind}); leave out --chat")
    if not lm.tokenizer.chat_template:
        raise TaskError(f"{lm.name} has no chat template; use an instruction-tuned model, or leave out --chat")
    template = ChatTemplate(task.template_for(masked=False).text, lm, task.prompt_turn)
    template.around("x")  # raises the errors of the chat template
    return template


def start_ids(lm: FrozenLM, template: Template) -> list[int]:
    """The tokens before the text of a template; none before a chat, which has its own."""
    return [] if template.chat else lm.prefix_ids


def marker_in(lm: FrozenLM, template: Template, text: str) -> str | None:
    """The first special token or marker of a turn that a text contains, or None."""
    return lm.special_token_in(text) or next((marker for marker in template.markers if marker in text), None)


def answer_ends(lm: FrozenLM, task: Task) -> Tensor:
    """Token ids that end an answer: those of `FrozenLM.end_ids`, and in a chat the token that the chat template puts behind it.

    In a chat, the lines of a reasoning (`match="number"`) do not end it.
    """
    template = template_of(lm, task)
    if not isinstance(template, ChatTemplate):
        return lm.end_ids
    ends = {each for each in (template.end_id, lm.eos_id) if each is not None}
    if task.match != "number" or not ends:
        ends |= {*lm.end_ids.tolist()}
    return torch.tensor(sorted(ends), device=lm.device)
