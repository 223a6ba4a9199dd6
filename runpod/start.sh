#!/usr/bin/env bash
# Mentor on a GPU pod, without a container: see `runpod/start.sh --help`.
set -euo pipefail

help() {
    cat <<'END'
Usage: runpod/start.sh [--check | --no-restart] [FLAG...]

Prepares everything as ./run.sh does, on the pod's volume, and keeps the server running: on 0.0.0.0:8000, which the pod shows
as https://POD-8000.proxy.runpod.net. The first start makes an API key and prints it, once. Uses the GPU when there are one and its compiler (nvcc), and says so when not.

  --check        print what would be used, change nothing
  --no-restart   serve once: do not start the server again when it dies (also: --once)
  FLAG           a configuration flag of the program, as for ./run.sh

  MENTOR_HOME           folder on the volume for all that must outlive the pod: toolchain, build, downloads, models, store,
                        course materials, logs  [/workspace/mentor where there is a /workspace, else ~/mentor]
  PORT                  port to serve on                           [8000]
  MENTOR_LISTEN         address and port                           [0.0.0.0:PORT]
  MENTOR_INSECURE_NO_KEYS  true: no API key is made, and everybody who knows the address may do everything
  MENTOR_MATERIALS_DIR  the course; filled with the sample course where it is empty  [MENTOR_HOME/course_materials]
  MENTOR_FEATURES       cargo features; set but empty for the CPU  [cuda with GPU and nvcc, else none]
  MENTOR_BIN            a program that is already built: nothing is built or installed
and the program's other MENTOR_* variables.

A server that dies is started again after 1 s, 2 s, 4 s, up to 30 s, and after 1 s again once it has lived for a minute. It is
not started again when it ended by itself (0) or cannot start as configured (2); that is also the exit code then.
END
}

mode=forever
flags=()
for argument in "$@"; do
    case $argument in
        --help | -h) help && exit ;;
        --check) mode=check ;;
        --once | --no-restart) mode=once ;;
        *) flags+=("$argument") ;;
    esac
done

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/setup.sh"

readonly FIRST_PAUSE_S=1
readonly LONGEST_PAUSE_S=30
readonly LIVED_WELL_S=60 # a server that lived as long did not die of its start
readonly STOP_LIMIT_S=30 # what a server gets to end by itself after a signal
readonly OLD_LOGS=5

# --- What there is ---------------------------------------------------------------------------------------------------

# Everything outside the volume is gone with the pod.
choose_home() {
    if [[ -z ${MENTOR_HOME:-} ]]; then
        if [[ -d /workspace ]]; then MENTOR_HOME=/workspace/mentor; else MENTOR_HOME=$HOME/mentor; fi
    fi
    MENTOR_HOME=$(realpath -m "$MENTOR_HOME")
    logs=$MENTOR_HOME/logs
    export MENTOR_HOME
    export CARGO_HOME=${CARGO_HOME:-$MENTOR_HOME/cargo}
    export MENTOR_TARGET_DIR=${MENTOR_TARGET_DIR:-$MENTOR_HOME/target}
    export MENTOR_CACHE_DIR=${MENTOR_CACHE_DIR:-$MENTOR_HOME/cache}
    export MENTOR_MODELS_DIR=${MENTOR_MODELS_DIR:-$MENTOR_HOME/models}
    export MENTOR_DATA_DIR=${MENTOR_DATA_DIR:-$MENTOR_HOME/vector_data}
    export MENTOR_MATERIALS_DIR=${MENTOR_MATERIALS_DIR:-$MENTOR_HOME/course_materials}
    export MENTOR_LISTEN=${MENTOR_LISTEN:-0.0.0.0:${PORT:-8000}}
    # Its proxy need not pass the name on that the browser asked for.
    if [[ -n ${RUNPOD_POD_ID:-} ]]; then export MENTOR_ALLOWED_ORIGINS=${MENTOR_ALLOWED_ORIGINS:-$(public_address)}; fi
    # A toolchain that the image brings stays where it is; ours, installed or yet to be, is on the volume.
    if ! have cargo && [[ -x $HOME/.cargo/bin/cargo ]]; then PATH=$HOME/.cargo/bin:$PATH; fi
    if [[ $(command -v cargo || echo "$CARGO_HOME/bin/cargo") == "$MENTOR_HOME"/* ]]; then
        export RUSTUP_HOME=${RUSTUP_HOME:-$MENTOR_HOME/rustup}
    fi
}

# Sets `gpu` (its name, or empty) and `device` (a sentence), and MENTOR_FEATURES unless it is given.
choose_device() {
    local -r cuda=${CUDA_HOME:-/usr/local/cuda}
    have nvcc || PATH=$PATH:$cuda/bin # images often leave it out
    gpu=
    if have nvidia-smi; then gpu=$(nvidia-smi -L 2>/dev/null | grep '^GPU ' | head -n 1) || gpu=; fi
    if [[ -n ${MENTOR_FEATURES+given} ]]; then
        device="as MENTOR_FEATURES says: ${MENTOR_FEATURES:-CPU}"
    elif [[ -z $gpu ]]; then
        device="CPU: no GPU here (nvidia-smi -L shows none)"
    elif ! have nvcc; then
        device="CPU, although there is a GPU: no CUDA compiler (nvcc); use an image with the CUDA toolkit (\"devel\")"
    else
        device=${gpu%% (UUID*}
        device="GPU: ${device#GPU *: }"
        MENTOR_FEATURES=cuda
    fi
    export MENTOR_FEATURES=${MENTOR_FEATURES:-}
}

uses_cuda() { [[ ,${MENTOR_FEATURES// /,}, == *,cuda,* ]]; }

# llama.cpp compiles its kernels for every kind of GPU unless told which one: minutes instead of a quarter of an hour. Its
# build script looks only at changes of variables with GGML_ in front, hence the second one: a volume may move to another GPU.
choose_kernels() {
    uses_cuda && [[ -n $gpu && -z ${CMAKE_CUDA_ARCHITECTURES:-} ]] || return 0
    local capability
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | tr -d '. ' | paste -sd ';')
    # One kind only, and one that this compiler knows; else the choice is llama.cpp's.
    nvcc --list-gpu-arch 2>/dev/null | grep -qx "compute_$capability" || return 0
    export CMAKE_CUDA_ARCHITECTURES=$capability GGML_BUILT_FOR_GPU=$capability
}

report() {
    cat <<END
device      $device
features    ${MENTOR_FEATURES:-none}
address     $MENTOR_LISTEN${RUNPOD_POD_ID:+, publicly $(public_address)}
program     ${MENTOR_BIN:-built from $root in $MENTOR_TARGET_DIR}
toolchain   $(command -v cargo || echo "none yet, would be installed in $CARGO_HOME")
models      $MENTOR_MODELS_DIR
store       $MENTOR_DATA_DIR
materials   $MENTOR_MATERIALS_DIR
downloads   $MENTOR_CACHE_DIR
logs        $logs
END
}

public_address() { printf 'https://%s-%s.proxy.runpod.net' "$RUNPOD_POD_ID" "${MENTOR_LISTEN##*:}"; }

# --- Preparation -----------------------------------------------------------------------------------------------------

# The lock goes with the process and its server, however they end.
refuse_second_copy() {
    mkdir -p "$MENTOR_HOME" || die "cannot write to $MENTOR_HOME; set MENTOR_HOME"
    exec 9>>"$MENTOR_HOME/start.lock"
    flock --nonblock 9 ||
        die "another copy, or its server, runs already with MENTOR_HOME=$MENTOR_HOME (started as process $(cat "$MENTOR_HOME/start.lock"))"
    echo "$$" >"$MENTOR_HOME/start.lock"
}

# A new log for every start; the last few are kept.
open_log() {
    local number
    mkdir -p "$logs" || die "cannot write to $logs"
    log=$logs/mentor.log
    for ((number = OLD_LOGS - 1; number >= 1; number--)); do
        [[ ! -f $log.$number ]] || mv -f "$log.$number" "$log.$((number + 1))"
    done
    [[ ! -s $log ]] || mv -f "$log" "$log.1"
    # From here on all output also goes to the log. The copying process outlives signals, to write what the server says last.
    exec 3>&1 4>&2 > >(trap '' INT TERM && exec tee -a "$log" 9>&-) 2>&1
    copier=$!
    trap close_log EXIT
}

# Waits for the last lines to be written, but not for a process that something left behind and that holds the pipe open.
close_log() {
    local tenths=20
    exec 1>&3 2>&4
    while ((tenths-- > 0)) && kill -0 "$copier" 2>/dev/null; do sleep 0.1; done
}

install_rust() {
    if find_cargo; then return 0; fi
    local script
    have curl || install_packages curl ca-certificates
    say "Installing Rust in $CARGO_HOME"
    script=$MENTOR_HOME/rustup-init.sh
    curl --proto '=https' --tlsv1.2 --retry 2 -sSf https://sh.rustup.rs -o "$script" ||
        die "no Rust toolchain, and https://sh.rustup.rs cannot be reached: a network is needed once"
    sh "$script" -y --quiet --no-modify-path --profile minimal || die "rustup could not install Rust: see above"
    rm -f "$script"
    find_cargo || die "rustup ran, but there is no cargo in $CARGO_HOME/bin"
}

seed_materials() {
    is_empty "$MENTOR_MATERIALS_DIR" || return 0
    say "Copying the sample course to $MENTOR_MATERIALS_DIR"
    { mkdir -p "$MENTOR_MATERIALS_DIR" && cp -R course_materials/. "$MENTOR_MATERIALS_DIR/"; } ||
        die "cannot write to $MENTOR_MATERIALS_DIR"
}

# make_key [FLAG...]: the first API key, where others can reach the server. It goes to the terminal and not into the log.
make_key() {
    local key
    case "$MENTOR_LISTEN $* ${MENTOR_INSECURE_NO_KEYS:-}" in
        127.* | localhost:* | '[::1]'* | *--insecure-no-keys* | *' true') return 0 ;;
    esac
    key=$("$mentor" keys create --if-none --name pod --scope ask,ingest,admin,metrics "$@") ||
        die "no API key could be made: see above"
    [[ -n $key ]] || return 0
    say "An API key was made and printed on the terminal; another one: mentor keys create --name NAME --data-dir $MENTOR_DATA_DIR"
    printf '\n    API key, shown only now: %s\n\n' "$key" >&3
}

prepare() {
    if [[ -z ${MENTOR_BIN:-} ]]; then
        install_rust
        choose_kernels
    fi
    build
    pull_models "${flags[@]}"
    if uses_cuda; then pull_models "${flags[@]}" onnxruntime-cuda; fi
    convert_weights "${flags[@]}"
    seed_materials
    ingest_if_empty "${flags[@]}"
    make_key "${flags[@]}"
}

# --- Serving ---------------------------------------------------------------------------------------------------------

server=      # its process while it runs
stopping=no  # a signal came

stop() {
    # A second signal, or a server that does not end: no more patience.
    if [[ $stopping == yes ]]; then [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true; fi
    stopping=yes
    [[ -n $server ]] || return 0
    say "Stopping"
    kill -TERM "$server" 2>/dev/null || true
}

# Leaves the server's exit code in `code`.
serve_once() {
    "$mentor" serve "${flags[@]}" &
    server=$!
    # A signal that came before there was a server to tell.
    if [[ $stopping == yes ]]; then kill -TERM "$server" 2>/dev/null || true; fi
    code=0
    wait "$server" || code=$?
    # A signal to this script ends the wait, not the server.
    local -r patience=$((SECONDS + STOP_LIMIT_S))
    while kill -0 "$server" 2>/dev/null; do
        if ((SECONDS >= patience)); then kill -KILL "$server" 2>/dev/null || true; fi
        sleep 0.1
    done
    # Bash keeps the code of a process it has not been asked for; 127 when it was the first wait that got it.
    local ended=0
    wait "$server" 2>/dev/null || ended=$?
    if ((ended != 127)); then code=$ended; fi
    server=
}

pause() {
    sleep "$1" &
    local -r sleeper=$!
    wait "$sleeper" || true # or a signal
    kill "$sleeper" 2>/dev/null || true
}

serve_forever() {
    local pause_s=$FIRST_PAUSE_S start
    while true; do
        start=$SECONDS
        serve_once
        if [[ $stopping == yes ]]; then
            say "Stopped"
            return 0
        fi
        if [[ $mode == once ]] || ((code == 0)); then return "$code"; fi
        if ((code == BAD_SETUP)); then
            say "The server cannot start as it is configured (exit code $code, see above): not trying again"
            return "$code"
        fi
        if ((SECONDS - start >= LIVED_WELL_S)); then pause_s=$FIRST_PAUSE_S; fi
        say "The server died (exit code $code) at $(date -u +%FT%TZ); starting it again in $pause_s s"
        pause "$pause_s"
        if [[ $stopping == yes ]]; then return 0; fi
        pause_s=$((pause_s * 2 < LONGEST_PAUSE_S ? pause_s * 2 : LONGEST_PAUSE_S))
    done
}

choose_home
choose_device
if [[ $mode == check ]]; then
    find_cargo || true
    report
    exit
fi
refuse_second_copy
open_log
say "Starting at $(date -u +%FT%TZ)"
report
prepare 9>&- # a compiler that outlives this script must not keep the lock
trap stop INT TERM
serve_forever
