#!/bin/sh
# Makes a synthetic patient, runs the main workflow on it, and says where the report is.
set -eu
demo=$1
neuroloom=target/release/neuroloom
raw=$demo/patient
out=$demo/results

echo "1. a synthetic patient: four sequences with known lesions" >&2
"$neuroloom" run workflows/phantom.toml --input seed=1 --case sub-demo --out "$raw" >/dev/null

echo "2. the workflow brain-metastases on it" >&2
anat=$raw/sub-demo/anat
"$neuroloom" run workflows/brain-metastases.toml \
    --input bravo="$anat/sub-demo_acq-BRAVO_ce-gad_T1w.nii.gz" \
    --input t1_pre="$anat/sub-demo_acq-CUBE_T1w.nii.gz" \
    --input t1_post="$anat/sub-demo_acq-CUBE_ce-gad_T1w.nii.gz" \
    --input flair="$anat/sub-demo_FLAIR.nii.gz" \
    --out "$out" >/dev/null

echo "the report, to be opened in a browser:" >&2
echo "$out/sub-demo/sub-demo_report.html"
