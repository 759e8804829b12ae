"""Reading a prompt: finding a text that does what the prompt does, with the evidence for it.

`problem.py` states the problem, which is to imitate the answers under the prompt, and `base.py` has the registry of readers.
Each other file is a reader: `nearest.py`, `wide_beam.py`.
"""

from hardprompt.readings.base import Reader, all_readers, load_reader, reader, run_reader
from hardprompt.readings.nearest import nearest
from hardprompt.readings.problem import ReadingProblem
from hardprompt.readings.wide_beam import wide_beam

READERS = [nearest, wide_beam]

__all__ = ["READERS", "Reader", "ReadingProblem", "all_readers", "load_reader", "nearest", "reader", "run_reader", "wide_beam"]
