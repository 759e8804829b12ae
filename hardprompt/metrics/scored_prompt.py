"""A prompt with its scores on a task and a model. Every metric is a function of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import surprisals
from hardprompt.metrics.sensitivity import deletion_map
from hardprompt.projection import nearest
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt, turn_marker_in
from hardprompt.scoring import Scorer, Scores


@dataclass(frozen=True)
class Reading:
    """A text in the tokenization of a reader, a model that the prompt was not optimized for.

    Attributes:
        tokens: number of tokens of the text in the reader's own tokenization.
        surprisal: the surprisal of each of these tokens in nats, (T,), NaN without context; None if the tokens exceed the
            reader's context.
    """

    tokens: int
    surprisal: Tensor | None


class ScoredPrompt:
    """A prompt, its text, and its scores on the splits of a task; every value is computed once, when it is first read.

    Args:
        prompt: token ids with their text, or the vectors of a soft prompt.
        test: the scorer of the test examples; its model and task are used for all scores.
        allowed: ids of the tokens that a soft prompt may project to, (A,); all tokens by default.
        projection: similarity measure of the projection: cosine, euclidean or dot.
        readers: models that the prompt was not optimized for; each reads the text in its own tokenization.
        reading: token ids proposed as the text of a soft prompt, of any length; by default its projection.
        like: another prompt on the same task and model. Its scorers are used again, which have read the inputs already.

    Attributes:
        lm, task: the model and the task.

    Raises:
        RequestError: the prompt does not fit the model.

    Example:
        >>> from hardprompt import HardPrompt, Scorer, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> scored = ScoredPrompt(HardPrompt.from_text(lm, "write the plural"), Scorer(lm, task, task.test))
        >>> bool(scored.scores("test").accuracy > 0.9)
        True
    """

    def __init__(
        self,
        prompt: HardPrompt | SoftPrompt,
        test: Scorer,
        *,
        allowed: Tensor | None = None,
        projection: str = "cosine",
        readers: Sequence[FrozenLM] = (),
        reading: Sequence[int] | None = None,
        like: "ScoredPrompt | None" = None,
    ) -> None:
        self.lm: FrozenLM = test.lm
        self.task: Task = test.task
        self.test = test
        self.prompt = as_prompt(self.lm, prompt, test.template)
        self.projection = projection
        self.readers = readers
        self.reading = reading
        self._allowed = allowed
        self._like = like
        self._scores: dict[str, Scores] = {}
        self._text_scores: dict[str, Scores] = {}
        self._compared: dict[Callable[[ScoredPrompt], dict[str, float]], dict[str, float]] = {}

    @property
    def is_soft(self) -> bool:
        """Whether the prompt is a soft prompt."""
        return isinstance(self.prompt, SoftPrompt)

    @cached_property
    def allowed(self) -> Tensor:
        """Ids of the tokens that a soft prompt may project to, (A,)."""
        return torch.tensor(self.lm.token_ids, device=self.lm.device) if self._allowed is None else self._allowed

    @cached_property
    def hard(self) -> HardPrompt:
        """The prompt itself, or the reading of a soft prompt: by default its projection."""
        if isinstance(self.prompt, HardPrompt):
            return self.prompt
        if self.reading is not None:
            return HardPrompt.from_ids(self.lm, self.reading, self.test.template)
        ids = projection_ids(self.prompt, self.lm.vocab_embeds, self.allowed, self.projection)
        return HardPrompt.from_ids(self.lm, ids, self.test.template)

    @cached_property
    def train(self) -> Scorer:
        """Scores the train examples."""
        return self._like.train if self._like else Scorer(self.lm, self.task, self.task.train)

    @cached_property
    def dev(self) -> Scorer:
        """Scores the dev examples."""
        return self._like.dev if self._like else Scorer(self.lm, self.task, self.task.dev)

    def scores(self, split: str) -> Scores:
        """Scores of the prompt as it was optimized (ids or vectors) on "train", "dev" or "test", (1, N)."""
        if split not in self._scores:
            scorer: Scorer = getattr(self, split)
            if isinstance(self.prompt, SoftPrompt):
                self._scores[split] = scorer.score_embeds(self.prompt.embeds)
            else:
                if split == "dev":
                    _ = self.token_worth  # scores the whole prompt in the same batch as the shortened ones
                self._scores[split] = scorer.score_ids([self.prompt.ids])
        return self._scores[split]

    def score_with_logits(self) -> tuple[Tensor, Tensor]:
        """Next-token logits (N, V) of the prompt and of its text's ids on the test examples; their scores are kept.

        This works only for classification, where the forward passes that score the prompt give these logits.
        """
        assert isinstance(self.prompt, SoftPrompt)
        self._scores["test"], of_prompt = self.test.score_with_logits(self.prompt.embeds)
        self.reading_scores, of_reading = self.test.score_with_logits(self.hard.ids)
        return of_prompt, of_reading

    def text_scores(self, split: str) -> Scores:
        """Scores of the text, filled into the template and tokenized again as it is deployed, (1, N)."""
        if split not in self._text_scores:
            scorer: Scorer = getattr(self, split)
            same = not self.is_soft and (
                self.roundtrip_ok if split == "test" else scorer.survives(self.hard.ids, self.hard.text)
            )
            self._text_scores[split] = self.scores(split) if same else scorer.score_text(self.hard.text)
        return self._text_scores[split]

    @cached_property
    def reading_scores(self) -> Scores:
        """Scores of the token ids of `hard` on the test examples, (1, N)."""
        return self.test.score_ids([self.hard.ids]) if self.is_soft else self.scores("test")

    def compared(self, function: "Callable[[ScoredPrompt], dict[str, float]]") -> dict[str, float]:
        """The values that a function of this prompt returns, for several metrics; the function is called only once."""
        if function not in self._compared:
            self._compared[function] = function(self)
        return self._compared[function]

    @cached_property
    def roundtrip_ok(self) -> bool:
        """Whether the text, tokenized again in its place, gives the same ids on every test example."""
        return self.test.survives(self.hard.ids, self.hard.text)

    @cached_property
    def deployed(self) -> HardPrompt:
        """The text with the token ids that it has in its place in the template: those of `hard` if `roundtrip_ok`.

        A text with a marker of the turns of a chat cannot stand in the template, and keeps the ids of `hard`.
        """
        template, text = self.test.template, self.hard.text
        if self.roundtrip_ok or turn_marker_in(self.lm, template, text):
            return self.hard
        return HardPrompt.in_place(self.lm, template, text)

    @cached_property
    def surprisal(self) -> Tensor:
        """Surprisal of each token of the deployed text under the task's model in nats, (T,), NaN without context.

        The tokens are those of `deployed`, so that readability and the accuracy of the text are about the same tokens.
        """
        return surprisals(self.lm, [self.deployed.ids])[0]

    @cached_property
    def token_worth(self) -> list[dict[str, float]]:
        """For each token of the text, the effect of its removal on dev (`hardprompt.metrics.deletion_map`)."""
        return deletion_map(self.dev, self.hard.ids)

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """The text as each reader reads it, by the reader's name."""
        return {reader.name: read_text(reader, self.hard.text) for reader in self.readers}


def read_text(reader: FrozenLM, text: str) -> Reading:
    """A text in the tokenization of a reader, with the surprisal of each token."""
    ids = reader.encode(text)
    return Reading(len(ids), surprisals(reader, [ids])[0] if len(ids) <= reader.max_text_length else None)


def projection_ids(soft: SoftPrompt, vocab_embeds: Tensor, allowed: Tensor, measure: str = "cosine") -> list[int]:
    """Token ids (L,) of the projection of a soft prompt onto the allowed tokens."""
    return allowed[nearest(soft.embeds.float(), vocab_embeds[allowed].float(), measure)].tolist()
