#!/bin/sh
# Checks every workflow that is shipped.
set -eu
neuroloom=$1
for workflow in workflows/*.toml workflows/sites/*.toml; do
    printf '%s\n' "$workflow"
    "$neuroloom" check "$workflow" >/dev/null
done
