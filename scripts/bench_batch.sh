#!/bin/sh
# Measures `batch` on two cores over synthetic cases, with the main workflow but for its network: against as many runs with one
# thread in a row and as many as they come, and its memory for more cases. Prints wall and CPU seconds and peak memory.
#
# usage: bench_batch.sh [CASES [MORE_CASES]]     with GRIDS=full for images of a patient's size
set -eu
cases=${1:-20}
more=${2:-60}
budget_gib=${BUDGET_GIB:-0.2}
neuroloom=target/release/neuroloom
work=$(mktemp -d "${TMPDIR:-/tmp}/neuroloom-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
pin=""
if command -v taskset >/dev/null; then pin="taskset -c 0,1"; fi

cat >"$work/phantoms.toml" <<TOML
extends = "$PWD/workflows/phantom.toml"
stages.phantom.settings.grids = "${GRIDS:-small}"
TOML
cat >"$work/workflow.toml" <<TOML
extends = "$PWD/workflows/brain-metastases.toml"
name = "brain-metastases-without-network"
[stages]
segment.remove = true
score.remove = true
filter.remove = true
measure.remove = true
[stages.page.inputs]
probability = false
lesions = false
below_size = false
candidates = false
table = false
[outputs]
lesions.remove = true
below_size.remove = true
score.remove = true
lesion_table.remove = true
candidates.remove = true
TOML

# seeds FILE COUNT: a table of so many synthetic cases.
seeds() {
    printf 'participant_id\tseed\n' >"$1"
    for n in $(seq 1 "$2"); do printf 'sub-%03d\t%d\n' "$n" "$n" >>"$1"; done
}

# measured NAME COMMAND...: runs it and notes wall seconds, CPU seconds and peak KiB.
measured() {
    name=$1
    shift
    if ! /usr/bin/time -f '%e %U %S %M' -o "$work/$name.time" $pin "$@" >"$work/$name.out" 2>"$work/$name.err"; then
        cat "$work/$name.err" >&2
        exit 1
    fi
    awk -v name="$name" '{ printf "%-28s %7.1f s wall %7.1f s CPU %7.0f MiB\n", name, $1, $2 + $3, $4 / 1024 }' "$work/$name.time"
}

# one_by_one OUT ARGUMENTS...: the cases in a row.
one_by_one() {
    out=$1
    shift
    for n in $(seq 1 "$cases"); do
        label=$(printf 'sub-%03d' "$n")
        anat=$work/raw/$label/anat/$label
        "$neuroloom" run "$work/workflow.toml" --case "$label" --out "$out" --no-cache "$@" \
            --input bravo="${anat}_acq-BRAVO_ce-gad_T1w.nii.gz" --input t1_pre="${anat}_acq-CUBE_T1w.nii.gz" \
            --input t1_post="${anat}_acq-CUBE_ce-gad_T1w.nii.gz" --input flair="${anat}_FLAIR.nii.gz" || return 1
    done
}

# ratio NAME A B
ratio() {
    awk -v name="$1" 'FNR == NR { a = $1; next } { printf "%-28s %7.2f\n", name, a / $1 }' "$work/$2.time" "$work/$3.time"
}

case ${BENCH_PART:-all} in
in_a_row)
    work=$BENCH_WORK
    trap - EXIT
    shift 2
    one_by_one "$@"
    exit
    ;;
esac

seeds "$work/seeds.tsv" "$more"
measured phantoms "$neuroloom" batch "$work/phantoms.toml" "$work/seeds.tsv" "$work/raw" --no-cache
first=$(for n in $(seq 1 "$cases"); do printf 'sub-%03d ' "$n"; done)
export BENCH_WORK="$work"
# shellcheck disable=SC2086 # labels are words, here and below
measured batch "$neuroloom" batch "$work/workflow.toml" "$work/raw" "$work/batch" --jobs 2 --no-cache --participant-label $first
BENCH_PART=in_a_row measured runs-one-thread "$0" "$cases" "$more" "$work/runs-one-thread" --threads 1
BENCH_PART=in_a_row measured runs "$0" "$cases" "$more" "$work/runs"
measured batch-of-more "$neuroloom" batch "$work/workflow.toml" "$work/raw" "$work/more" --jobs 2 --no-cache
# A budget that two of these cases at a time would not keep.
measured "batch-in-$budget_gib-GiB" "$neuroloom" batch "$work/workflow.toml" "$work/raw" "$work/within" --no-cache \
    --memory "$budget_gib" --participant-label $first
ratio "batch / one thread" batch runs-one-thread
ratio "batch / runs" batch runs
