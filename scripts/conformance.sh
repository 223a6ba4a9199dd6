#!/usr/bin/env bash
# Checks the WebSocket against the Autobahn cases: installs the package kosoku into .mentor/conformance (once, from PyPI), and runs
# the test in tests/conformance.rs with it. Exit code 0 when no case failed. Takes some minutes.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

readonly kosoku=0.1.0 python=$root/.mentor/conformance/bin/python
if ! "$python" -c 'import kosoku' >/dev/null 2>&1; then
    python3 -m venv "$root/.mentor/conformance"
    "$python" -m pip install --quiet --disable-pip-version-check "kosoku==$kosoku"
fi
need_rust
choose_folders
limit_jobs
cargo_arguments
MENTOR_TEST_PYTHON=$python cargo test "${arguments[@]}" --test conformance -- --nocapture
