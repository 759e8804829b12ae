#!/usr/bin/env bash
# The study of report-tasks.md: every report task of the embedded world, two single-threaded processes at a time.
#
#     runs/report_tasks.sh OUT
#
# Stopped and started again it goes on where it was. Folders: OUT/TASK, weight 0 on three seeds; OUT/TASK-weights, a grid on one.
set -euo pipefail
out=$1
tasks=$(hardprompt ls tasks --json | python -c 'import json, sys; print(*[t["name"] for t in json.load(sys.stdin) if t["division"] == "report"])')
{
  for task in $tasks; do echo "--task $task --weights 0 --out $out/$task"; done
  for task in $tasks; do
    echo "--task $task --optimizers pez,rl --weights 0.05,0.1,0.2,0.4 --seeds 0 --out $out/$task-weights"
  done
} | OMP_NUM_THREADS=1 xargs -P 2 -L 1 hardprompt compare --preset default
