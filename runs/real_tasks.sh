#!/usr/bin/env bash
# The studies of real-tasks.md: real data, a small real model, and an independent reader. The same command resumes them.
#
#     runs/real_tasks.sh DATA MODELS OUT
#
# The folder DATA contains `fewshot/` and `relations/`; the folder MODELS contains `english-mini` and `english-mini-reader`.
set -euo pipefail
data=$1 models=$2 out=$3
study() {
  echo "== $1"
  hardprompt compare --task "$1" --data "$2" --lm "$models/english-mini" --reader "$models/english-mini-reader" --seeds 0 --out "$out/$1" "${@:3}"
}
study sst2 "$data/fewshot/sst-2" --splits 13,21
study mr "$data/fewshot/mr" --splits 13,21
study capitalize-first-letter "$data/relations"
study singular-plural "$data/relations"
study agnews "$data/fewshot/agnews" --splits 13,21 --memory 14GB   # the cached beginnings of 3,800 articles need it
