#!/usr/bin/env bash
# RLPrompt as published and the default beside random search on 16 examples a class and a small real model.
#
#     runs/rl_real.sh DATA MODELS OUT
#
# DATA holds `fewshot/`, MODELS `english-mini` and `english-mini-reader`. Stopped and started again it goes on.
set -euo pipefail
data=$1 models=$2 out=$3
for task in sst2:sst-2 agnews:agnews; do
  hardprompt compare --task "${task%:*}" --data "$data/fewshot/${task#*:}" --splits 13 --seeds 0 --weights 0 --lm "$models/english-mini" \
    --reader "$models/english-mini-reader" --optimizers empty,manual,random,rl,rlprompt -o rlprompt.reward=gap --out "$out/${task%:*}"
done
