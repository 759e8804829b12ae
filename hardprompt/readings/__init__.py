"""Reading a prompt: finding a text that does what the prompt does, with the evidence for it.

`read.py` reads a prompt by several readers, and `evidence.py` measures their texts on held-out inputs. `problem.py` states the
problem that readers solve, which is to imitate the answers under the prompt, and `base.py` has their registry. Each other file
is a reader. `nearest.py` and `output_lens.py` look at the vectors, and in `self_description.py` the model describes them;
`samples.py`, `wide_beam.py` and `gradient_search.py` look for the least divergence; `known_instructions.py` weights given
texts; and `translator.py` has a trained adapter.
"""

from hardprompt.readings.base import Reader, all_readers, load_reader, reader, run_reader
from hardprompt.readings.evidence import Evidence, Examiner
from hardprompt.readings.gradient_search import gradient_search
from hardprompt.readings.known_instructions import known_instructions
from hardprompt.readings.nearest import nearest
from hardprompt.readings.output_lens import output_lens
from hardprompt.readings.problem import ReadingProblem
from hardprompt.readings.read import Readings, TextReading, read
from hardprompt.readings.samples import samples
from hardprompt.readings.self_description import self_description
from hardprompt.readings.translator import translator
from hardprompt.readings.wide_beam import wide_beam

READERS = [nearest, output_lens, self_description, samples, wide_beam, gradient_search, known_instructions, translator]

__all__ = [
    "READERS",
    "Evidence",
    "Examiner",
    "Reader",
    "ReadingProblem",
    "Readings",
    "TextReading",
    "all_readers",
    "gradient_search",
    "known_instructions",
    "load_reader",
    "nearest",
    "output_lens",
    "read",
    "reader",
    "run_reader",
    "samples",
    "self_description",
    "translator",
    "wide_beam",
]
