"""The command line: it reads options, calls the library, prints the answer, and turns errors into one line and an exit status.

`entry_point.py` starts the program and `verbs.py` holds the verbs. `options.py` builds the options that are fields of a study
request, `reading.py` reads their text, and `output.py` prints. The other files hold one group of verbs each. Modules that
import torch are imported inside a verb, so that `hardprompt --help` is fast.
"""

from hardprompt.cli.entry_point import main
from hardprompt.cli.verbs import app

__all__ = ["app", "main"]
