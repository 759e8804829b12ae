"""The reward of text style transfer, as in RLPrompt: whether the content is kept, and whether the style is the target style.

With a prompt the task LM rewrites each input several times. The reward of an output is the mean of its content and its style,
in points from 0 to 100. The reward of a prompt on an input is the mean over bootstraps of the reward of the best output. The
published reward has 32 outputs in each of 4 bootstraps, BERTScore for the content and a fine-tuned classifier for the style.
Here the default is 8 outputs in each of 4 bootstraps, since every output needs a pass of the task LM for each token. The best
of 8 outputs has a lower reward than the best of 32, with more variance.

To use a `StyleReward`, define `reward = StyleReward(...)` in a file and set the option `rl.reward=path.py:reward`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import torch

from hardprompt.data.task import Example, Template
from hardprompt.errors import LMError, RequestError
from hardprompt.hub import hub_answers
from hardprompt.lm import FrozenLM
from hardprompt.lm.chat import ChatTemplate, start_ids

TEMPLATE = '{prompt} "{input}" "'
"""The template of RLPrompt. The output ends at the closing quote."""

ROWS_AT_ONCE = 256
"""Number of outputs that are written together, where their prompts and inputs have equally many tokens."""


class ContentSimilarity(Protocol):
    """How much of the content of each source its output keeps, (N,), from 0 to 1."""

    def __call__(self, outputs: Sequence[str], sources: Sequence[str]) -> np.ndarray:
        """The similarity of each pair, (N,)."""
        ...


class StyleProbability(Protocol):
    """The probability that each text has the target style, (N,), from 0 to 1."""

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The probability for each text, (N,)."""
        ...


def chrf(outputs: Sequence[str], sources: Sequence[str], order: int = 6, beta: float = 2.0) -> np.ndarray:
    """Character n-gram F-score (chrF, Popović 2015): F_beta of the mean precision and recall over n = 1, ..., `order`.

    It needs no model, ignores blanks and does not recognize synonyms.

    Args:
        outputs: N texts.
        sources: the N texts that they are compared with.
        order: the largest n.
        beta: weight of the recall.

    Returns:
        The scores, (N,), from 0 to 1.

    Example:
        >>> chrf(["good food", "x"], ["good food", "abc"]).tolist()
        [1.0, 0.0]
    """
    return np.array([_chrf(output, source, order, beta) for output, source in zip(outputs, sources, strict=True)])


class BertScoreContent:
    """BERTScore F1, at least 0; needs the package `bert-score`.

    Args:
        model: a model of bert-score, whose F1 is rescaled with its baseline as published, or a local folder.
        layers: for a local folder, the layer that is compared. Its F1 is not rescaled, since it has no baseline.

    Raises:
        RequestError: the package is not installed.
        LMError: the model does not exist or cannot be downloaded.
    """

    def __init__(self, model: str = "roberta-large", layers: int | None = None) -> None:
        try:
            from bert_score import BERTScorer
        except ImportError as error:
            raise RequestError("BERTScore is not installed: pip install 'hardprompt[bertscore]', or use chrf") from error
        if not Path(model).is_dir() and not hub_answers():
            raise LMError(
                f"BERTScore's model {model} is not a local folder, and the hub cannot be reached; give a folder, or use chrf"
            )
        try:
            self._scorer = BERTScorer(model_type=model, num_layers=layers, rescale_with_baseline=layers is None, lang="en")
        except (OSError, ValueError, KeyError, AssertionError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            raise LMError(
                f"BERTScore cannot use {model} ({reason}); a local folder needs layers=, the layer that is compared"
            ) from error

    def __call__(self, outputs: Sequence[str], sources: Sequence[str]) -> np.ndarray:
        """The F1 of each pair, (N,)."""
        return self._scorer.score(list(outputs), list(sources))[2].clamp(min=0).numpy()


class ClassifierStyle:
    """The probability of a label under a Hugging Face sequence classifier.

    Args:
        folder: a local folder or hub id.
        label: the label of the target style, by name or index.
        device: the device of the classifier.

    Raises:
        LMError: the classifier cannot be loaded.
        RequestError: it has no such label.
    """

    def __init__(self, folder: str, label: str | int, device: str = "cpu") -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._model = AutoModelForSequenceClassification.from_pretrained(folder).to(device).eval()
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise LMError(f"no classifier {folder} ({' '.join(str(error).split())[:150]})") from error
        known: Mapping[str, int] = self._model.config.label2id
        self._label = known.get(str(label), label)
        if not isinstance(self._label, int) or not 0 <= self._label < self._model.config.num_labels:
            raise RequestError(f"classifier {folder} has no label {label!r}; it has {', '.join(known)}")

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """p(label | text) for each text, (N,)."""
        batch = self._tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True).to(self._model.device)
        return self._model(**batch).logits.softmax(-1)[:, self._label].float().cpu().numpy()


class LMStyle:
    """The probability of a label word after a text under a language model; needs no classifier.

    Args:
        lm: the model, which should not be the one that writes the text.
        words: a word for each style, the target style first; each is a single token.
        template: text with `{text}`, after which the word is predicted.

    Raises:
        RequestError: a word is not a single token.

    Example:
        >>> from hardprompt import load_lm
        >>> style = LMStyle(load_lm("microworld"), ("positive", "negative"), "{text} sentiment:")
        >>> style(["the soup was wonderful."]).shape
        (1,)
    """

    def __init__(self, lm: FrozenLM, words: Sequence[str], template: str) -> None:
        self._lm, self._template = lm, template
        ids = lm.encode_after([" " + word for word in words])
        for word, tokens in zip(words, ids, strict=True):
            if len(tokens) != 1:
                raise RequestError(f"the style word {word!r} is {len(tokens)} tokens of {lm.name}, expected one")
        self._words = torch.tensor([tokens[0] for tokens in ids], device=lm.device)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """p(first word | text) among the words, (N,)."""
        lm = self._lm
        rows = [lm.prefix_ids + ids for ids in lm.encode_many([self._template.replace("{text}", text) for text in texts])]
        read = [torch.tensor(row[-lm.max_length :], device=lm.device) for row in rows]
        hidden = lm.hidden(
            lm.embed(torch.nn.utils.rnn.pad_sequence(read, batch_first=True)), lengths=[len(row) for row in read]
        )
        last = torch.tensor([len(row) - 1 for row in read], device=lm.device)
        logits = lm.output_logits(hidden[torch.arange(len(read), device=lm.device), last], self._words)
        return logits.float().softmax(-1)[:, 0].cpu().numpy()


class StyleReward:
    """The reward of RLPrompt for style transfer, in points per prompt and example, (P, N).

    Args:
        lm: the task LM, which rewrites the inputs.
        style: the probability of the target style.
        content: how much of the input is kept.
        template: text with `{prompt}` and `{input}`. An output ends at a quote, a line break, the end of a sentence or the
            end-of-sequence token.
        chat: whether the template is the user's turn in a chat, as in `Task`. The blanks, line breaks and quotes that the model
            writes before an output are then left out.
        samples: the number of outputs in each bootstrap (published: 32).
        bootstraps: the number of bootstraps (published: 4).
        top_k: the number of tokens that can be sampled at each position, the most probable ones.
        lower: whether outputs are converted to lower case before they are scored, as for Yelp.
        seed: seed of the samples. A prompt has the same samples on an example in every call.

    Example:
        >>> from hardprompt import Example, load_lm
        >>> lm = load_lm("microworld")
        >>> reward = StyleReward(lm, LMStyle(lm, ("positive", "negative"), "{text} sentiment:"), samples=2, bootstraps=1)
        >>> reward(["make it good"], [Example("the soup was awful.", "-")]).shape
        (1, 1)
    """

    def __init__(
        self,
        lm: FrozenLM,
        style: StyleProbability,
        content: ContentSimilarity = chrf,
        *,
        template: str = TEMPLATE,
        chat: bool = False,
        samples: int = 8,
        bootstraps: int = 4,
        top_k: int = 10,
        lower: bool = True,
        seed: int = 0,
    ) -> None:
        self.lm, self.style, self.content = lm, style, content
        self.template = ChatTemplate(template, lm) if chat else Template(template)
        self.samples, self.bootstraps, self.top_k, self.lower, self.seed = samples, bootstraps, top_k, lower, seed

    def __call__(self, prompts: list[str], examples: list[Example]) -> np.ndarray:
        """The mean over bootstraps of the reward of the best output, (P, N)."""
        return self.maxima(prompts, examples).mean(-1)

    def maxima(self, prompts: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """The reward of the best output of each bootstrap, (P, N, bootstraps)."""
        sources = [example.input for _ in prompts for example in examples]
        drawn = self.samples * self.bootstraps
        outputs = self.rewrite([(prompt, example.input) for prompt in prompts for example in examples], drawn)
        values = self.judge(outputs, [source for source in sources for _ in range(drawn)])["sum"]
        return bootstrap_maxima(values.reshape(len(prompts), len(examples), drawn), self.bootstraps)

    def judge(self, outputs: Sequence[str], sources: Sequence[str]) -> dict[str, np.ndarray]:
        """Content, style and their mean (`sum`, as published) of each output, in points. For an empty output they are 0."""
        full = np.array([bool(output.strip()) for output in outputs])
        parts = range(0, len(outputs), ROWS_AT_ONCE)
        kept = [self.content(outputs[at : at + ROWS_AT_ONCE], sources[at : at + ROWS_AT_ONCE]) for at in parts]
        found = [self.style([output or " " for output in outputs[at : at + ROWS_AT_ONCE]]) for at in parts]
        content, style = (100 * np.concatenate([np.zeros(0), *each]) * full for each in (kept, found))
        return {"content": content, "style": style, "sum": (content + style) / 2}

    @torch.no_grad()
    def rewrite(self, pairs: Sequence[tuple[str, str]], count: int) -> list[str]:
        """`count` outputs for each pair of a prompt and an input, in the order of the pairs.

        An output has at most 1.5 times as many tokens as the input, or 10 more if that is larger. Pairs with equally many
        tokens are continued together. The random numbers of a pair depend on the input and not on the prompt or on the other
        pairs, so that prompts are compared on the same ones.
        """
        rows = [self._row(prompt, source) for prompt, source in pairs]
        outputs = [""] * (len(rows) * count)
        for chosen in _of_equal_length([ids for ids, _ in rows], max(1, ROWS_AT_ONCE // count)):
            ids = torch.tensor([rows[i][0] for i in chosen], device=self.lm.device).repeat_interleave(count, 0)
            generators = [torch.Generator().manual_seed(self.seed + crc32(pairs[i][1].encode())) for i in chosen]
            drawn = self._sampled(ids, max(rows[i][1] for i in chosen), generators).unflatten(0, (-1, count))
            for i, continuations in zip(chosen, drawn, strict=True):
                texts = [self._text(row[: rows[i][1]]) for row in continuations.tolist()]
                outputs[i * count : (i + 1) * count] = texts
        return outputs

    def _row(self, prompt: str, source: str) -> tuple[list[int], int]:
        """The token ids of the filled template, and how many tokens follow at most."""
        ids = [*start_ids(self.lm, self.template), *self.lm.encode(self.template.fill(source, prompt))]
        length = len(self.lm.encode(source))
        fresh = min(max(math.ceil(1.5 * length), length + 10), self.lm.max_length - len(ids))
        if fresh < 1:
            raise RequestError(f"the input {source[:40]!r} with its prompt leaves {self.lm.name} no room to answer")
        return ids, fresh

    def _sampled(self, ids: torch.Tensor, fresh: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Continue rows of equal length by `fresh` tokens, drawn from the most probable ones, (B, fresh).

        Each generator serves as many of the rows, in order.
        """
        past: Any = None
        read, out = ids, []
        for _ in range(fresh):
            found = self.lm.model(input_ids=read, use_cache=True, logits_to_keep=1, **{self.lm.cache_argument: past})
            top = found.logits[:, -1].float().topk(min(self.top_k, found.logits.shape[-1]))
            parts = zip(top.values.softmax(-1).cpu().chunk(len(generators)), generators, strict=True)
            chosen = torch.cat([torch.multinomial(part, 1, generator=generator) for part, generator in parts])
            read, past = top.indices.gather(-1, chosen.to(read.device)), found[self.lm.cache_argument]
            out.append(read)
        return torch.cat(out, 1)

    def _text(self, row: list[int]) -> str:
        """The output whose tokens are the beginning of a row."""
        output = self.lm.decode(row[: row.index(self.lm.eos_id)] if self.lm.eos_id in row else row)
        if self.template.chat:
            output = output.lstrip(' \n"')
        ends = [place for mark in ('"', "\n") if (place := output.find(mark)) >= 0]
        output = output[: min(ends)] if ends else output
        stops = [place + 1 for mark in ".!?" if (place := output.find(mark)) >= 0]
        output = (output[: min(stops)] if stops else output).strip()
        return output.lower() if self.lower else output


def _of_equal_length(rows: Sequence[Sequence[int]], at_most: int) -> Iterator[list[int]]:
    """The indices of rows of equal length, in groups of `at_most`."""
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(index)
    for indices in by_length.values():
        yield from (indices[start : start + at_most] for start in range(0, len(indices), at_most))


def bootstrap_maxima(values: np.ndarray, bootstraps: int) -> np.ndarray:
    """The maximum of each of `bootstraps` equal parts of the last axis, (..., bootstraps).

    Example:
        >>> bootstrap_maxima(np.array([1.0, 3.0, 2.0, 0.0]), 2).tolist()
        [3.0, 2.0]
    """
    return values.reshape(*values.shape[:-1], bootstraps, -1).max(-1)


def zscore_by_input(rewards: np.ndarray, maxima: Sequence[np.ndarray], inputs: Sequence[int], eps: float = 1e-4) -> np.ndarray:
    """RLPrompt's normalization for style transfer: the z-score of each reward among the bootstrap maxima on its input.

    Args:
        rewards: the rewards of prompts, each on one input, (P,).
        maxima: for each input, the bootstrap maxima of all prompts.
        inputs: the index of the input of each reward, (P,).
        eps: added to the standard deviation.

    Returns:
        The normalized rewards, (P,).
    """
    return np.array([(r - maxima[i].mean()) / (maxima[i].std() + eps) for r, i in zip(rewards, inputs, strict=True)])


def _chrf(output: str, source: str, order: int, beta: float) -> float:
    precisions, recalls = [], []
    for n in range(1, order + 1):
        a, b = (_ngrams(text, n) for text in (output, source))
        if a and b:
            common = sum((a & b).values())
            precisions.append(common / sum(a.values()))
            recalls.append(common / sum(b.values()))
    precision, recall = (float(np.mean(values)) if values else 0.0 for values in (precisions, recalls))
    total = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / total if total else 0.0


def _ngrams(text: str, n: int) -> Counter[str]:
    letters = "".join(text.split())
    return Counter(letters[i : i + n] for i in range(len(letters) - n + 1))
