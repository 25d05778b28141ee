#!/bin/sh
# Makes the table of docs/lesion-filter.md again: 24 phantoms, 12 to learn from (`dev`) and 12 unseen (`test`).
# About 13 CPU-seconds and 120 MB of disk a case.
#
#   scripts/filter_evidence.sh FOLDER [more arguments of `neuroloom batch`]
set -eu
out=$1
shift
mkdir -p "$out"
{
    printf 'participant_id\tseed\tsplit\n'
    for n in $(seq 1 24); do
        split=dev
        [ "$n" -le 12 ] || split=test
        printf 'sub-%02d\t%d\t%s\n' "$n" $((1000 + n)) "$split"
    done
} >"$out/cases.tsv"
target/release/neuroloom batch workflows/filter-evidence.toml "$out/cases.tsv" "$out/results" --no-cache "$@"
cat "$out/results/group/learn/group_desc-filter_rules.tsv"
