#!/usr/bin/env bash
# Readable prompts by reinforcement: the accuracy of fluent policies and of PEZ against the reader's log-perplexity, over weights.
#
#     runs/rl_fluency.sh OUT
#
# `rl` writes only tokens among the 256 that the model itself finds most probable next; PEZ has the vocabulary. Stopped and started
# again it goes on. `python runs/summarize.py OUT/*` prints the curves (columns test_accuracy and reader_log_perplexity).
set -euo pipefail
out=$1
for task in opposite past-tense capital review-return; do
  echo "--task $task --optimizers rl -o rl.observation=state -o rl.fluent=256 -o rl.learning_rate=0.003 --out $out/$task-fluent"
  echo "--task $task --optimizers pez --out $out/$task-pez"
done | OMP_NUM_THREADS=1 xargs -P 2 -I{} sh -c 'hardprompt compare --preset default --weights 0,0.1,0.2,0.4 --seeds 0 {}'
