#!/bin/sh
# Makes the throw-away Python environment in which scripts/validate_crate.py judges crates: target/crate-venv.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
python3 -m venv "$here/target/crate-venv"
"$here/target/crate-venv/bin/pip" install -q --disable-pip-version-check -r "$here/scripts/crate_tools.txt"
