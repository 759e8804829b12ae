"""The tasks on real data, which are read from local files or fetched from the hub."""

from . import agnews, amazon, boolq, cr, dbpedia, gsm8k, mr, relations, sst2, sst5, style, subj, trec, yahoo, yelp

CLASSIFICATION = (sst2, mr, cr, sst5, yelp, amazon, subj, trec, agnews, yahoo, dbpedia, boolq)

TASKS = {task.name: task for task in (*(module.TASK for module in CLASSIFICATION), gsm8k.TASK, *relations.TASKS, *style.TASKS)}
