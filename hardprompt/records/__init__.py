"""The record of a study: what was requested, one line per finished run, and the prompts that the runs found.

`request.py` is the request, and `schema.py` is what a record must hold to be read. `folder.py` is the folder of any kind of
study, which one process at a time (`lock.py`) writes to through temporary files (`atomic.py`); `store.py` is the folder of a
study of optimizers. `prompt_ref.py` finds a prompt in a record, and `frontier.py` derives the trade-off from it.
"""
