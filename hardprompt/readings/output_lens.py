"""The reader `output-lens`: the token that the model predicts at each vector (logit lens, nostalgebraist 2020).

With the vectors p_1 ... p_L, the output embeddings W, and a pass over a context c and the vectors, whose features at vector i
are h_i, there are two readings:

    y_i = argmax_v logits(h_i)_v        the prediction at vector i
    y_i = argmax_v logits(p_i)_v        the output layer at the vector itself, without a pass

over the allowed tokens, with logits(h) = W h up to bias, scale and cap. The context is that of a document, which
is the start tokens, and that of the prompt in the row of the first input.
"""

from typing import Any

import torch
from torch import Tensor

from hardprompt.errors import RequestError
from hardprompt.optimizers.base import Config
from hardprompt.prompt import SoftPrompt
from hardprompt.readings.base import needs_vectors, reader
from hardprompt.readings.problem import ReadingProblem


def needs_vectors_and_predictions(problem: ReadingProblem, config: Any) -> None:
    """Raise RequestError if the target is a hard prompt, or if the model is not causal and predicts no next token."""
    needs_vectors(problem, config)
    if problem.lm.kind != "causal":
        raise RequestError(
            f"{problem.lm.name} predicts no next token at a vector ({problem.lm.kind} model); use the reader nearest"
        )


@torch.no_grad()
def predicted_tokens(problem: ReadingProblem, context: tuple[int, ...], vectors: Tensor) -> list[int]:
    """The allowed token that the model predicts at each vector behind a context.

    Args:
        problem: the problem, whose model is causal. The pass is counted as the tokens of the context, without the start tokens,
            and the vectors.
        context: token ids, with the start tokens; it may be empty.
        vectors: the vectors (L, d).

    Returns:
        L token ids.

    Example:
        >>> from hardprompt import HardPrompt, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> problem = ReadingProblem(HardPrompt.from_text(lm, "give the plural"), task, lm, ["cat"])
        >>> vectors = lm.embed(torch.tensor(lm.encode("give the plural of the word")))
        >>> lm.decode(predicted_tokens(problem, tuple(lm.prefix_ids), vectors))
        'the first of the word:'
    """
    lm = problem.lm
    read = torch.cat([lm.embed(torch.tensor(context, dtype=torch.long, device=lm.device)), vectors])
    problem.counter.forward += len(read) - len(lm.prefix_ids)
    logits = lm.output_logits(lm.hidden(read[None])[0, len(context) :], problem.allowed)
    return problem.allowed[logits.argmax(-1)].tolist()


@reader("output-lens", Config, check=needs_vectors_and_predictions)
def output_lens(problem: ReadingProblem, config: Config) -> list[list[int]]:
    """The token that the model predicts at each vector, and the token of the output layer at the vector itself."""
    assert isinstance(problem.target, SoftPrompt)
    lm = problem.lm
    vectors = problem.target.embeds.to(lm.vocab_embeds.dtype)
    texts = [predicted_tokens(problem, context, vectors) for context in (tuple(lm.prefix_ids), problem.dev.contexts[0])]
    if vectors.shape[1] == lm.output_layer.weight.shape[1]:
        texts.append(problem.allowed[lm.output_logits(vectors, problem.allowed).argmax(-1)].tolist())
    return texts
