"""The tasks on real data, which are read from local files or fetched from the hub."""

from . import agnews, boolq, mr, relations, sst2, sst5

TASKS = {task.name: task for task in (sst2.TASK, mr.TASK, sst5.TASK, agnews.TASK, boolq.TASK, *relations.TASKS)}
