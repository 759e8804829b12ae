#!/usr/bin/env bash
# RLPrompt as published, PPO (the default) and random search, with 16 examples per class and a small real model.
#
#     runs/rl_real.sh DATA MODELS OUT
#
# The folder DATA contains `fewshot/`; the folder MODELS contains `english-mini` and `english-mini-reader`. The same command resumes
# an interrupted study.
set -euo pipefail
data=$1 models=$2 out=$3
for task in sst2:sst-2 agnews:agnews; do
  hardprompt compare --task "${task%:*}" --data "$data/fewshot/${task#*:}" --splits 13 --seeds 0 --weights 0 --lm "$models/english-mini" \
    --reader "$models/english-mini-reader" --optimizers empty,manual,random,rl,rlprompt -o rlprompt.reward=gap --out "$out/${task%:*}"
done
