#!/usr/bin/env bash
# The geometry of soft prompts (Bakalova 2024). The same command resumes an interrupted study. Afterwards,
# `python runs/geometry.py OUT OUT` shows which of the published findings are reproduced.
#
#     runs/geometry.sh embedded OUT [EPOCHS [OPTIONS]]     # 60 prompts, by default 50 epochs; a possible option is --learning-rate 0.003
#     runs/geometry.sh real OUT DATA MODELS [EPOCHS]       # 60 prompts, by default 10 epochs; the published study has 50
#
# Time on one core of a shared two-core machine: `embedded` takes 6 to 15 minutes (19,500 steps of 16 to 45 ms); `real` takes 30 to
# 45 minutes (25,500 steps of 70 to 105 ms), and with 50 epochs 2.5 to 4 hours (extrapolated from trials of 2 to 5 epochs).
#
# The folder DATA contains `relations/`, and the folder MODELS contains `english-mini`. Seven of the ten published words are one token
# of the embedded model; horse, bread and river replace bird, paper and water. For english-mini, all ten words with the blank before
# them are one token.
set -euo pipefail
recipe=$1 out=$2
case $recipe in
  embedded)
    hardprompt geometry --epochs "${3:-50}" "${@:4}" --out "$out"
    ;;
  real)
    tasks=()
    for task in capitalize-first-letter lowercase-first-letter country-capital landmark-country present-past singular-plural; do
      tasks+=(--task "$task")
    done
    hardprompt geometry "${tasks[@]}" --data "$3/relations" --lm "$4/english-mini" --epochs "${5:-10}" --out "$out"
    ;;
esac
