"""Every family of models in the zoo has the label logits of its plain forward pass, or is refused in one line.

Each example goes alone and together with longer and shorter ones through the scorer, with prompts as ids, as embeddings and as
text, before and after the input. Most rows are longer than the windows of the models. `docs/concepts/models.md` shows the
results; `python -m tests.contract.test_families` writes them into the page, for all families or for those that are named.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor

from hardprompt.adapter import write_adapter
from hardprompt.data.task import Example, Task, Template
from hardprompt.errors import HardpromptError
from hardprompt.lm import FrozenLM, allowed_vocabulary, load_lm
from hardprompt.lm.encoder_decoder import EncoderDecoderLM
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer, Scores
from tests.helpers import zoo
from tests.helpers.tiny import TEXT

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "models.md"
BOUND = 1e-4
"""The largest difference from the plain forward pass, relative to the standard deviation of its logits."""

ZOO: Mapping[str, Mapping[str, zoo.Recipe]] = {
    "causal": zoo.CAUSAL,
    "masked": zoo.MASKED,
    "encoder-decoder": zoo.ENCODER_DECODER,
}
TELLING = {
    "causal": ("gemma2", "gpt_neo", "mamba2", "mixtral", "opt, projected", "phi3, longrope", "qwen2, windows", "xglm"),
    "masked": ("deberta-v2, relative", "fnet", "modernbert"),
    "encoder-decoder": ("bart, scaled embeddings", "t5"),
}
"""Families of the default run. All others are slow tests."""

LENGTHS = (3, 30, 12, 1)
"""Words of the inputs. The windows of the zoo have 12 tokens, and its rotary factors change after 16."""

_WORDS = " ".join(TEXT[:4]).split()
_LAYOUTS = ("{input} {prompt} :", "{prompt} : {input} is")


@dataclass
class Measured:
    """What a family gives.

    Attributes:
        differences: the largest difference for each way in which prompts are given, such as "ids" and "ids, together".
        shares_prefixes: whether a prefix that rows share is read once.
        shortens_last_layer: whether the last layer is computed only where it is read.
        refused: the lines with which a way, or everything, is refused.
    """

    differences: dict[str, float] = field(default_factory=dict)
    shares_prefixes: bool = False
    shortens_last_layer: bool = False
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> dict[str, float]:
        """The differences that are too large, or not a number."""
        return {way: value for way, value in self.differences.items() if not value <= BOUND}

    def row(self, name: str) -> list[str]:
        """The cells of the table; a line stands for numbers that are refused."""
        if "" in self.refused:
            return [name, self.refused[""], *[""] * 5]
        cells = [name]
        for way in ("ids", "embeddings", "text"):
            pair = [self.differences.get(way), self.differences.get(f"{way}, together")]
            refused = self.refused.get(way) or self.refused.get(f"{way}, together")
            cells.append(refused or " / ".join("-" if value is None else f"{value:.0e}" for value in pair))
        cells += ["yes" if self.shares_prefixes else "no", "yes" if self.shortens_last_layer else "no"]
        return [*cells, self.refused.get("export") or f"{self.differences['export']:.0e}"]


def measured(recipe: zoo.Recipe, folder: Path) -> Measured:
    """Measure the family of a recipe, whose model is saved in the folder."""
    found = Measured()
    zoo.save(recipe, folder)
    try:
        lm = load_lm(str(folder), device="cpu")
    except HardpromptError as error:
        found.refused[""] = _line(error, folder)
        return found
    found.shares_prefixes, found.shortens_last_layer = lm.shares_prefixes, lm.last_layer is not None
    reference = recipe.head.from_pretrained(folder, dtype=torch.float32).eval()
    try:
        for template in _LAYOUTS:
            _measure_scores(lm, reference, _task(template), found)
    except HardpromptError as error:  # a row is too long
        found.refused[""] = _line(error, folder)
        return found
    try:
        found.differences["export"] = _export_difference(lm, folder)
    except HardpromptError as error:
        found.refused["export"] = _line(error, folder)
    return found


def _line(error: HardpromptError, folder: Path) -> str:
    """A message as a cell of the table."""
    return escape(str(error).replace(str(folder), folder.name), quote=False).replace("|", "\\|")


def _task(template: str) -> Task:
    inputs = [" ".join(_WORDS[(7 * length + i) % len(_WORDS)] for i in range(length)) for length in LENGTHS]
    examples = [Example(each, "positive") for each in inputs]
    words = {"positive": "good", "negative": "yes"}  # one token each, with and without a blank before it
    return Task(name="lengths", template=Template(template), train=examples, dev=examples, test=examples, label_words=words)


def _measure_scores(lm: FrozenLM, reference: Any, task: Task, found: Measured) -> None:
    """Compare all ways of giving a prompt with the plain forward pass over the same token ids."""
    vocabulary = allowed_vocabulary(lm).tolist()
    prompts = [vocabulary[10:13], vocabulary[20:40]]  # so long that reading them once as prefixes pays
    together = Scorer(lm, task, task.train)
    alone = [Scorer(lm, task, [example]) for example in task.train]
    plain = {p: [plain_logits(reference, scorer, ids) for scorer in alone] for p, ids in enumerate(prompts)}

    def compare(way: str, scored: Callable[[], Scores], p: int, examples: list[int], row: int = 0) -> None:
        if way in found.refused:
            return
        try:
            logits = scored().label_logits
        except HardpromptError as error:
            found.refused[way] = str(error).replace("|", "\\|")
            return
        assert logits is not None
        for mine, n in zip(logits[row], examples, strict=True):
            expected = plain[p][n]
            off = float((mine - expected[together.label_ids]).abs().max() / expected.std())
            known = found.differences.get(way, 0.0)
            found.differences[way] = max(known, off, key=lambda value: (value != value, value))  # not a number is the largest

    every = list(range(len(task.train)))
    for p, ids in enumerate(prompts):
        embeds, text = lm.vocab_embeds[ids], lm.decode(ids)
        for n, scorer in enumerate(alone):
            compare("ids", lambda: scorer.score_ids([ids]), p, [n])  # noqa: B023
            compare("embeddings", lambda: scorer.score_embeds(embeds), p, [n])  # noqa: B023
            if scorer.survives(ids, text):
                compare("text", lambda: scorer.score_text(text), p, [n])  # noqa: B023
        compare("embeddings, together", lambda: together.score_embeds(embeds), p, every)  # noqa: B023
        if together.survives(ids, text):
            compare("text, together", lambda: together.score_text(text), p, every)  # noqa: B023
    for p in range(len(prompts)):
        compare("ids, together", lambda: together.score_ids(prompts), p, every, p)


@torch.no_grad()
def plain_logits(reference: Any, scorer: Scorer, ids: list[int]) -> Tensor:
    """The logits (V,) at the answer of a plain forward pass over the row of the only example.

    A copy of the model reads each row, because some models change when they read: BigBird never returns to sparse attention
    after a short row.
    """
    row, model = scorer._rows.build(0, 0, ids), deepcopy(reference)
    fed = torch.tensor([row.ids])
    more = {} if scorer.lm.kind == "causal" else {"attention_mask": torch.ones_like(fed)}
    if isinstance(scorer.lm, EncoderDecoderLM):
        more["decoder_input_ids"] = torch.tensor([scorer.lm.start_ids])
    return model(input_ids=fed, **more).logits[0, row.predict_from]


@torch.no_grad()
def _export_difference(lm: FrozenLM, folder: Path) -> float:
    """How far the logits of an exported prompt are from those of its tokens."""
    from peft import PeftModel

    ids = allowed_vocabulary(lm).tolist()[20:24]
    rest = lm.encode_after([" : the cat sat on a mat and looked at the dog is"])[0]
    write_adapter(HardPrompt.from_ids(lm, ids), lm, Template("{prompt} : {input} is"), folder / "adapter", str(folder))
    expected = lm.model(input_ids=torch.tensor([[*lm.prefix_ids, *ids, *rest]])).logits[0, -1]
    adapted = PeftModel.from_pretrained(lm.model, folder / "adapter").eval()
    logits = adapted(input_ids=torch.tensor([rest]), attention_mask=torch.ones(1, len(rest), dtype=torch.long)).logits[0, -1]
    return float((logits - expected).abs().max() / expected.std())


HEAD = ("family", "ids", "embeddings", "text", "shares prefixes", "shortens last layer", "export")


def rows_of_page(kind: str) -> dict[str, list[str]]:
    """The rows of the table of a kind of model in the page, by family."""
    found = re.search(_block(kind, "(.*?)"), PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = found[1].split("\n") if found else []
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]
    return {row[0]: row for row in rows[2:]}


def write_rows(kind: str, rows: Mapping[str, list[str]]) -> None:
    """Write the table of a kind of model into the page."""
    lines = [list(HEAD), ["---"] * len(HEAD), *(rows[name] for name in sorted(rows))]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(_block(kind, ".*?"), lambda _: _block(kind, f"\n{text}\n"), page, flags=re.DOTALL), encoding="utf-8")


def _block(kind: str, body: str) -> str:
    return f"<!-- table: {kind} -->{body}<!-- end of table -->"


def comparable(row: list[str]) -> list[str]:
    """A row without the numbers that are within the bound, whose digits depend on the machine."""
    return [re.sub(r"\de[+-]\d+", lambda number: "ok" if float(number[0]) <= BOUND else number[0], cell) for cell in row]


def _cases() -> Iterator[Any]:
    for kind, families in ZOO.items():
        for name in families:
            yield pytest.param(kind, name, marks=[] if name in TELLING[kind] else [pytest.mark.slow])


@pytest.mark.parametrize(("kind", "name"), list(_cases()))
@pytest.mark.filterwarnings("ignore")
def test_the_numbers_are_those_of_the_plain_forward_pass(kind: str, name: str, tmp_path: Path) -> None:
    """No family is off without a refusal, and the page says what the family gives."""
    found = measured(ZOO[kind][name], tmp_path / "model")
    assert not found.wrong
    assert comparable(rows_of_page(kind).get(name, [])) == comparable(found.row(name)), f"run python -m {__name__} '{name}'"


def test_the_page_has_no_other_families() -> None:
    for kind, families in ZOO.items():
        assert rows_of_page(kind).keys() == families.keys()


def main(names: list[str]) -> None:
    """Measure the families, by default all, and write their rows into the page."""
    for kind, families in ZOO.items():
        rows = {name: row for name, row in rows_of_page(kind).items() if name in families}
        for name in families:
            if not names or name in names:
                with TemporaryDirectory() as folder:
                    rows[name] = measured(families[name], Path(folder) / "model").row(name)
                print(" | ".join(rows[name]), flush=True)
        write_rows(kind, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
