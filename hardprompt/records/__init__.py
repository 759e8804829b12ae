"""The record of a study: what was requested, one line per finished run, and the prompts that the runs found.

`request.py` is the request and `schema.py` what a record must hold to be read. `store.py` is the folder of a study, written by
one process at a time (`lock.py`) through temporary files (`atomic.py`). `prompt_ref.py` finds a prompt in a record, and
`frontier.py` derives the trade-off from it.
"""
