#!/bin/sh
# Makes workflows/models/phantom-demo.safetensors again: phantoms, then the shipped training on them, on the CPU.
# About 40 CPU-minutes and 16 GB of disk. The same machine makes the same bytes, whatever the number of threads.
#
# What the model reaches is then measured, and written into its card, by scripts/model_figures.py.
#
#   scripts/train_demo_model.sh FOLDER [more arguments of the training's `neuroloom batch`]
set -eu
out=$1
shift
neuroloom=target/release/neuroloom
mkdir -p "$out"

# Seeds that no test and no evaluation uses: 7001 to 7016 to learn from, 7101 and 7102 to choose epoch and threshold.
phantoms() { # SPLIT FIRST-SEED COUNT PHANTOM-SETTINGS...
    split=$1 first=$2 count=$3
    shift 3
    printf 'participant_id\tseed\n' >"$out/$split-seeds.tsv"
    for n in $(seq "$first" $((first + count - 1))); do
        printf 'sub-%d\t%d\n' "$n" "$n" >>"$out/$split-seeds.tsv"
        raw=phantoms/sub-$n/anat/sub-$n
        truth=phantoms/derivatives/truth/sub-$n/anat/sub-${n}_space-orig_desc-lesions_dseg.nii.gz
        printf 'sub-%d\t%s\t%s\t%s\t%s\t%s\t%s\n' "$n" "$split" "${raw}_acq-BRAVO_ce-gad_T1w.nii.gz" \
            "${raw}_acq-CUBE_T1w.nii.gz" "${raw}_acq-CUBE_ce-gad_T1w.nii.gz" "${raw}_FLAIR.nii.gz" "$truth" >>"$out/cases.tsv"
    done
    "$neuroloom" batch workflows/phantom.toml "$out/$split-seeds.tsv" "$out/phantoms" --no-cache "$@" >/dev/null
}

printf 'participant_id\tsplit\tbravo\tt1_pre\tt1_post\tflair\ttruth\n' >"$out/cases.tsv"
phantoms train 7001 16 --set 'phantom.settings.lesions=16' --set 'phantom.settings.diameter_mm=[3.0,32.0]'
phantoms dev 7101 2 --set 'phantom.settings.lesions=8'

# `crop` makes a step cost a quarter of one on whole slices, and shows it a lesion in half of them.
"$neuroloom" batch workflows/train.toml "$out/cases.tsv" "$out/trained" --cache "$out/cache" --device cpu \
    --set 'train.settings.name="phantom-demo"' \
    --set 'train.settings.version="3"' \
    --set 'train.settings.domain="phantoms of this project on their native grids; not for patients"' \
    --set 'train.settings.licence="MIT OR Apache-2.0"' \
    --set 'train.settings.warning="PHANTOM-TRAINED MODEL: it learned from synthetic heads; for demonstration only, not for patients"' \
    --set train.settings.width=0.25 --set train.settings.crop=128 \
    --set train.settings.batch=8 --set train.settings.micro_batch=8 --set train.settings.learning_rate=0.002 \
    --set 'train.settings.decay="cosine"' --set train.settings.dropout=0.5 --set train.settings.judge_every=4 --set 'train.settings.stored="f16"' \
    --set train.settings.epochs=3 --set train.settings.steps_per_epoch=320 "$@"
cp "$out/trained/group/train/group_model.safetensors" workflows/models/phantom-demo.safetensors
