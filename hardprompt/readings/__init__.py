"""Reading a prompt: finding a text that does what the prompt does, with the evidence for it.

`problem.py` states the problem, which is to imitate the answers under the prompt, and `base.py` has the registry of readers.
Each other file is a reader: `nearest.py`, `output_lens.py`, `self_description.py`.
"""

from hardprompt.readings.base import Reader, all_readers, load_reader, reader, run_reader
from hardprompt.readings.nearest import nearest
from hardprompt.readings.output_lens import output_lens
from hardprompt.readings.problem import ReadingProblem
from hardprompt.readings.self_description import self_description

READERS = [nearest, output_lens, self_description]

__all__ = [
    "READERS",
    "Reader",
    "ReadingProblem",
    "all_readers",
    "load_reader",
    "nearest",
    "output_lens",
    "reader",
    "run_reader",
    "self_description",
]
