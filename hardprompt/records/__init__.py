"""The record of a study: what was requested, one line per finished run, and the prompts that the runs found.

`request.py` is the request. `schema.py` is the form of a record, from which `reference.py` writes the reference. `folder.py` is
the folder of any kind of study, which one process at a time (`lock.py`) writes to through temporary files (`atomic.py`);
`store.py` is the folder of a study of optimizers. `prompt_ref.py` finds a prompt in a record, and `frontier.py` derives the
trade-off from it.
"""
