#!/usr/bin/env bash
# Fuzzes the parts that read what strangers send: see `scripts/fuzz.sh --help`.
set -euo pipefail

targets=(frames messages multipart archives configuration)

help() {
    cat <<END
Usage: scripts/fuzz.sh [SECONDS [TARGET...]]

Builds the fuzz targets and runs each for so many seconds (30), as many at once as there are cores. The targets: ${targets[*]}.
What a run finds interesting stays in .mentor/fuzz/corpus for the next one, what crashes in .mentor/fuzz/crashes. To see a crash again:

  .mentor/fuzz/target/HOST/release/TARGET .mentor/fuzz/crashes/crash-...

Exit code 0 when nothing crashed. Needs a C++ compiler, as the program does, and nothing of a nightly toolchain.
END
}

case ${1:-} in
    --help | -h) help && exit ;;
    '' | [0-9]*) ;;
    *) help >&2 && exit 2 ;;
esac
readonly seconds=${1:-30}
shift || true
(($# == 0)) || targets=("$@")

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
host=$(rustc -vV | sed -n 's/^host: //p')
readonly root host work=$root/.mentor/fuzz

# What cargo-fuzz passes, without its sanitizers, which need a nightly compiler: the code is safe Rust, and what it should not do is
# asserted. `--target` keeps the flags away from build scripts.
build() {
    local flags=(--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module)
    flags+=(-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters)
    flags+=(-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares)
    RUSTFLAGS="${flags[*]}" RUSTC_WORKSPACE_WRAPPER=$root/scripts/rustc.sh CARGO_TARGET_DIR=$work/target \
        CARGO_BUILD_BUILD_DIR=${MENTOR_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mentor}/fuzz \
        cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$host"
}

# run TARGET: says in a line how it went; the whole is in its log.
run() {
    local -r log=$work/$1.log
    mkdir -p "$work/corpus/$1" "$work/crashes"
    # It has every key.
    [[ $1 != configuration ]] || cp mentor.example.toml "$work/corpus/$1/"
    if "$work/target/$host/release/$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=10000 \
        -print_final_stats=1 -artifact_prefix="$work/crashes/$1-" "$work/corpus/$1" "fuzz/seeds/$1" >"$log" 2>&1; then
        printf '%s: no crash in %s inputs\n' "$1" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    else
        printf '%s: FAILED\n' "$1" >&2
        grep -v '^#' "$log" | tail -n 40 >&2
        return 1
    fi
}

build
export -f run
export seconds work host
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I {} bash -euo pipefail -c 'run {}'
