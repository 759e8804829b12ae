#!/usr/bin/env bash
# Where soft prompts lie (Bakalova 2024). Stopped and started again they go on; `python runs/geometry.py OUT OUT` then says which of
# the published findings show.
#
#     runs/geometry.sh embedded OUT [EPOCHS [OPTIONS]]     # 60 prompts, 50 epochs unless said otherwise; --learning-rate 0.003
#     runs/geometry.sh real OUT DATA MODELS [EPOCHS]       # 60 prompts, 10 epochs; the published study has 50
#
# On one core of a shared two-core machine: `embedded` 19,500 steps at 16 to 45 ms, 6 to 15 minutes; `real` 25,500 steps at 70 to
# 105 ms, 30 to 45 minutes, and with 50 epochs 2.5 to 4 hours (extrapolated from trials of 2 to 5 epochs).
#
# DATA holds `relations/`, MODELS `english-mini`. The embedded model knows seven of the ten published words as one token; for bird,
# paper and water it has horse, bread and river. To english-mini all ten are one token, with the blank before them.
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
