"""The reader `nearest`: the token closest to each vector, by each of the three measures.

    y_i = argmax_v s(p_i, e_v)    with s the cosine, minus the Euclidean distance, or the dot product

(Lester et al. 2021 by cosine; Khashabi et al. 2022 by Euclidean distance). It looks at the vectors and not at what they do.
"""

from hardprompt.metrics.scored_prompt import projection_ids
from hardprompt.optimizers.base import Config
from hardprompt.projection import SIMILARITY_MEASURES
from hardprompt.prompt import SoftPrompt
from hardprompt.readings.base import needs_vectors, reader
from hardprompt.readings.problem import ReadingProblem


@reader("nearest", Config, check=needs_vectors)
def nearest(problem: ReadingProblem, config: Config) -> list[list[int]]:
    """The closest token of each vector, by cosine, Euclidean distance and dot product."""
    assert isinstance(problem.target, SoftPrompt)
    vocab = problem.lm.vocab_embeds
    return [projection_ids(problem.target, vocab, problem.allowed, measure) for measure in SIMILARITY_MEASURES]
