#!/usr/bin/env bash
# Every check of the project: see `./test.sh --help`.
set -euo pipefail

help() {
    cat <<'END'
Usage: ./test.sh

The same preparation as ./run.sh (packages, build, models), then format, lints, every test (with the real models), a short
load test, fuzzing, the scripts, and known faults of dependencies where the tools for that are installed. Goes on after a failure, and ends with one line that
says what failed. Exit code 0 when nothing did.

  MENTOR_TEST_BOOKS   a folder of real books, for the tests that read some  [../shared/course_materials if it is there]
  MENTOR_TEST_EVAL    questions with known pages, in JSON lines             [../shared/eval/questions.jsonl if it is there]
  MENTOR_TEST_PYTHON  a Python that has the packages openai and kosoku, for the tests of OpenAI's client and of the WebSocket [python3]
  MENTOR_TEST_NODE_MODULES  a folder node_modules with the package openai, for that in JavaScript
  MENTOR_TEST_FUZZ_SECONDS  how long each target is fuzzed, 0 for not at all           [10]
  MENTOR_TEST_LLAMA_SERVER  the address of a running llama-server, for the test of the remote engine on a real server
The variables of ./run.sh count here too.
END
}

case ${1:-} in
    '') ;;
    --help | -h) help && exit ;;
    *) help >&2 && exit 2 ;;
esac

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"

failed=()
skipped=()
current=

# step TITLE COMMAND...: runs it, says how long it took, remembers a failure. (Nothing in COMMAND stops at an error by itself:
# bash suspends `set -e` there.)
step() {
    local -r start=$SECONDS
    local outcome=ok
    current=$1
    say "$current"
    "${@:2}" || outcome=FAILED
    [[ $outcome == ok ]] || failed+=("$current")
    say "$current: $outcome, $((SECONDS - start)) s"
    current=
}

skip() {
    skipped+=("$1")
    say "$1: skipped, $2"
}

summary() {
    local -r code=$?
    local text=
    # Left in the middle: the preparation gave up, or somebody pressed Ctrl-C.
    if [[ -n $current ]]; then failed+=("$current"); elif ((code > 0 && ${#failed[@]} == 0)); then failed+=("this script"); fi
    ((${#skipped[@]} == 0)) || text="; skipped: $(list "${skipped[@]}")"
    if ((${#failed[@]} > 0)); then
        printf 'FAILED in %d s: %s%s\n' "$SECONDS" "$(list "${failed[@]}")" "$text"
        exit $((code > 0 ? code : 1))
    fi
    printf 'All checks passed in %d s%s\n' "$SECONDS" "$text"
}

list() {
    local text
    text=$(printf '%s, ' "$@")
    printf '%s' "${text%, }"
}

need_components() {
    cargo fmt --version >/dev/null 2>&1 && find_clippy && return
    have rustup || die "rustfmt and clippy are needed beside cargo"
    [[ -z ${MENTOR_NO_INSTALL:-} ]] || die "missing: rustup component add rustfmt clippy"
    rustup component add rustfmt clippy || die "rustup could not add rustfmt and clippy; they need a network once"
    find_clippy
}

find_clippy() {
    CLIPPY_DRIVER=$(rustup which clippy-driver 2>/dev/null || command -v clippy-driver) && [[ -x $CLIPPY_DRIVER ]]
}

# `cargo clippy` is a check build, and that can't use what a release build made: it would compile the interfaces of 650 crates
# again. Clippy is a compiler, though: as the workspace wrapper of the release build it compiles our own crates and takes all
# others as they are. Its results go to a folder of their own, so that no empty program lies where ./run.sh looks for one.
lints() {
    CLIPPY_DRIVER=$CLIPPY_DRIVER CLIPPY_CONF_DIR=$root RUSTC_WORKSPACE_WRAPPER=$root/scripts/clippy.sh \
        CARGO_TARGET_DIR=$root/.mentor/lints cargo build --all-targets --keep-going "${arguments[@]}"
}

# Books and questions that may lie beside the clone, but are not part of it.
find_test_data() {
    local -r beside=$root/../shared
    if [[ -z ${MENTOR_TEST_BOOKS:-} && -d $beside/course_materials ]]; then
        MENTOR_TEST_BOOKS=$(realpath "$beside/course_materials")
    fi
    if [[ -z ${MENTOR_TEST_EVAL:-} && -f $beside/eval/questions.jsonl ]]; then
        MENTOR_TEST_EVAL=$(realpath "$beside/eval/questions.jsonl")
    fi
    if [[ -n ${MENTOR_TEST_BOOKS:-} ]]; then export MENTOR_TEST_BOOKS; else skip "tests on real books" "no MENTOR_TEST_BOOKS"; fi
    if [[ -z ${MENTOR_TEST_LLAMA_SERVER:-} ]]; then skip "test on a real remote server" "no MENTOR_TEST_LLAMA_SERVER"; fi
    if ! "${MENTOR_TEST_PYTHON:-python3}" -c 'import openai' >/dev/null 2>&1; then
        skip "OpenAI's Python client" "no package openai, see MENTOR_TEST_PYTHON"
    fi
    if ! "${MENTOR_TEST_PYTHON:-python3}" -c 'import kosoku' >/dev/null 2>&1; then
        skip "Autobahn cases of the WebSocket" "no package kosoku, see scripts/conformance.sh"
    fi
    if ! NODE_PATH=${MENTOR_TEST_NODE_MODULES:-} node -e 'require("openai")' >/dev/null 2>&1; then
        skip "OpenAI's JavaScript client" "no package openai, see MENTOR_TEST_NODE_MODULES"
    fi
    if [[ -n ${MENTOR_TEST_EVAL:-} ]]; then export MENTOR_TEST_EVAL; else skip "tests on real questions" "no MENTOR_TEST_EVAL"; fi
}

# Tests run in the folders of their crates, so the models need an absolute path.
tests() {
    MENTOR_MODELS_DIR=$(realpath -m "${MENTOR_MODELS_DIR:-models}") cargo test --no-fail-fast "${arguments[@]}"
}

# The short scenarios of the load tests, with a fake generator.
short_load() {
    MENTOR_MODELS_DIR=$(realpath -m "${MENTOR_MODELS_DIR:-models}") load-tests/smoke.sh
}

our_scripts() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run
    else
        find . -path ./.mentor -prune -o \( -name '*.sh' -o -path ./.ci/run \) -print
    fi
}

scripts() {
    local files
    mapfile -t files < <(our_scripts)
    shellcheck --external-sources "${files[@]}"
}

# Faults published about the crates of Cargo.lock; the database is downloaded, so there may be none today.
advisories() {
    if have cargo-deny && cargo deny fetch db >/dev/null 2>&1; then
        step "dependencies (cargo deny)" cargo deny check
    elif have cargo-deny; then
        skip "published faults of dependencies" "their database cannot be reached"
        step "dependencies (cargo deny)" cargo deny --offline check bans licenses sources
    elif have cargo-audit && cargo audit --quiet --json >/dev/null 2>&1; then
        step "dependencies (cargo audit)" cargo audit
    else
        skip "published faults of dependencies" "no cargo-deny"
    fi
}

trap summary EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

current=preparation
unset MENTOR_BIN # the tests are about what is built here
build
# shellcheck disable=SC2119 # the defaults; the script's own arguments are none of them
pull_models
need_components
if ((EUID == 0)) && ! have shellcheck && [[ -z ${MENTOR_NO_INSTALL:-} ]]; then
    (install_packages shellcheck) || warn "shellcheck could not be installed"
fi
cargo_arguments
say "preparation: ok, $SECONDS s"
current=

step "format" cargo fmt --all --check
step "lints" lints
find_test_data
step "tests" tests
fuzz_seconds=${MENTOR_TEST_FUZZ_SECONDS:-10}
if ((fuzz_seconds > 0)); then step "fuzzing" scripts/fuzz.sh "$fuzz_seconds"; else skip "fuzzing" "0 seconds"; fi
step "short load" short_load
if have shellcheck; then step "scripts" scripts; else skip "scripts" "no shellcheck"; fi
step "start on a GPU pod" runpod/test.sh
advisories
