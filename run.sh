#!/usr/bin/env bash
# From a fresh clone to a running tutor: see `./run.sh --help`.
set -euo pipefail

help() {
    cat <<'END'
Usage: ./run.sh [--no-serve] [FLAG...]

Builds Mentor, fetches its models, rewrites the generator's weights for this machine, ingests the course materials if the store is
empty, and serves: on http://127.0.0.1:8000 unless told otherwise. Needs a Rust toolchain; installs the Debian or Ubuntu packages that are missing, as root or, after
asking, with sudo. The first run takes long (650 crates); the next ones start within seconds and need no network.

  --no-serve   do everything but serve, for instance to prepare a machine that will be offline
  --help       this text
  FLAG         a configuration flag of the program, for instance --listen 0.0.0.0:9000 or --materials-dir ~/course;
               `mentor help serve` lists them

Configuration: flags, MENTOR_* variables, mentor.toml. Relative paths start at the folder of this script.
Of the scripts:
  MENTOR_TARGET_DIR   where crates are built; clones share it  [CARGO_TARGET_DIR, or ~/.cache/mentor/target]
  MENTOR_CACHE_DIR    where downloads are kept                  [~/.cache/mentor]
  MENTOR_FEATURES     cargo features, for instance cuda
  MENTOR_NO_INSTALL   set: never install packages, only name them

Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 something is missing or misconfigured.
END
}

serve=true
flags=()
for argument in "$@"; do
    case $argument in
        --help | -h) help && exit ;;
        --no-serve) serve=false ;;
        *) flags+=("$argument") ;;
    esac
done

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

build
pull_models "${flags[@]}"
convert_weights "${flags[@]}"
ingest_if_empty "${flags[@]}"

if [[ $serve == false ]]; then
    say "Ready: ./run.sh serves"
    exit
fi
say "Serving; Ctrl-C ends it"
# In place of this shell, so that signals reach the program itself.
exec "$mentor" serve "${flags[@]}"
