#!/usr/bin/env bash
# Tests of start.sh, with a few lines of shell in place of the program and of the GPU's tools. About 10 seconds.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
started=()
cleanup() {
    local pid
    for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait || true
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    printf 'FAILED: %s: %s\n' "$name" "$*" >&2
    cat "$work/$name/out" >&2 2>/dev/null || true
    exit 1
}

# test_case NAME: a volume of its own, with a space in its path, and none of the caller's settings.
test_case() {
    name=$1
    printf '    %s\n' "$name"
    home="$work/$name/my volume"
    out=$work/$name/out
    calls=$work/$name/calls
    mkdir -p "$work/$name"
    : >"$calls"
}

# start ENVIRONMENT... -- ARGUMENTS...: runs start.sh; leaves its process in `pid`.
start() {
    local settings=()
    while [[ $1 != -- ]]; do settings+=("$1") && shift; done
    shift
    env -i PATH="$work/bin:$PATH" HOME="$work/$name" CUDA_HOME=/nonexistent CALLS="$calls" MENTOR_HOME="$home" \
        MENTOR_BIN="$work/bin/mentor" "${settings[@]}" "$here/start.sh" "$@" >"$out" 2>&1 &
    pid=$!
    started+=("$pid")
}

# expect CODE: start.sh ends, with this exit code.
expect() {
    local code=0 tenths=100
    while kill -0 "$pid" 2>/dev/null; do
        ((tenths-- > 0)) || fail "still running after 10 s"
        sleep 0.1
    done
    wait "$pid" || code=$?
    ((code == $1)) || fail "exit code $code instead of $1"
}

# until_there FILE TEXT: waits until the file has the text.
until_there() {
    local tenths=80
    until grep -q -- "$2" "$1" 2>/dev/null; do
        ((tenths-- > 0)) || fail "no \"$2\" in $1 after 8 s"
        sleep 0.1
    done
}

has() { grep -q -- "$2" "$1" || fail "no \"$2\" in $1"; }
has_not() { ! grep -q -- "$2" "$1" || fail "\"$2\" in $1"; }

# The program: notes its calls, and in `serve` does what BEHAVIOUR says: live until a signal, crash the first time, or exit.
mkdir "$work/bin"
cat >"$work/bin/mentor" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case $1 in
    stats) echo "{\"documents\":${DOCUMENTS:-3},\"pages\":9,\"chunks\":30}" ;;
    ingest) exit "${INGEST:-0}" ;;
    keys) [[ -n ${HAS_KEYS:-} ]] || echo mk_first_secret ;;
    models) [[ $2 != convert ]] || exit "${CONVERT:-0}" ;;
    serve)
        [[ -z ${MENTOR_BIN:-} ]] || exit 2 # the program refuses variables that it does not know
        [[ ${BEHAVIOUR:-live} != exit ]] || exit "$CODE"
        [[ ${BEHAVIOUR:-live} != crash || $(grep -c ^serve "$CALLS") -gt 1 ]] || { echo "about to crash" && exit 101; }
        trap 'echo "got TERM" >>"$CALLS"; echo "last words"; exit 0' TERM
        echo "ready on $MENTOR_LISTEN"
        for _ in {1..400}; do sleep 0.05; done # forgotten, it ends after 20 s
        ;;
esac
END
cat >"$work/bin/nvidia-smi" <<'END'
#!/usr/bin/env bash
[[ -n ${GPU:-} ]] || exit 9
if [[ $1 == -L ]]; then echo "GPU 0: $GPU (UUID: GPU-0)"; else echo 9.0; fi
END
chmod +x "$work/bin/"*

echo "Starting on a GPU pod:"

test_case "without a GPU it says that it runs on the CPU"
start -- --check
expect 0
has "$out" "CPU: no GPU here"
has "$out" "features    none"

test_case "with a GPU but no compiler it says that it runs on the CPU"
if command -v nvcc >/dev/null; then
    echo "        (skipped: this machine has nvcc)"
else
    start GPU="NVIDIA H100" -- --check
    expect 0
    has "$out" "no CUDA compiler (nvcc)"
    has "$out" "features    none"
fi

test_case "with a GPU and a compiler it uses the GPU, and a check changes nothing"
mkdir -p "$work/$name/cuda/bin"
printf '#!/bin/sh\n' >"$work/$name/cuda/bin/nvcc"
chmod +x "$work/$name/cuda/bin/nvcc"
start GPU="NVIDIA H100" CUDA_HOME="$work/$name/cuda" RUNPOD_POD_ID=abc PORT=8123 -- --check
expect 0
has "$out" "GPU: NVIDIA H100$"
has "$out" "features    cuda"
has "$out" "0.0.0.0:8123, publicly https://abc-8123.proxy.runpod.net"
[[ ! -e $home && ! -s $calls ]] || fail "a check changed something"

test_case "it pulls, ingests when empty, serves on every address, and forwards SIGTERM"
start DOCUMENTS=0 INGEST=3 CONVERT=134 MENTOR_FEATURES=cuda -- --top-k 7
until_there "$out" "ready on 0.0.0.0:8000"
first=$pid first_out=$out
out=$work/$name/second
start -- --no-restart
expect 2
has "$out" "another copy, or its server, runs already"
pid=$first out=$first_out
kill -TERM "$pid"
expect 0
has "$calls" "^models pull --top-k 7 onnxruntime-cuda$"
has "$calls" "^models convert --setup --top-k 7$"
has "$out" "weights stay as shipped: mentor models convert ended with exit code 134"
has "$calls" "^ingest --top-k 7$"
has "$out" "some documents could not be read"
has "$calls" "^got TERM$"
has "$calls" "^keys create --if-none --name pod --scope ask,ingest,admin,metrics --top-k 7$"
has "$out" "API key, shown only now: mk_first_secret"
has_not "$home/logs/mentor.log" "mk_first_secret"
has "$home/logs/mentor.log" "An API key was made"
has "$home/logs/mentor.log" "ready on 0.0.0.0:8000"
has "$home/logs/mentor.log" "last words"
[[ -f $home/course_materials/09-graphs.pdf ]] || fail "no sample course"

test_case "a crash is followed by a restart, later ones wait longer, and a signal ends the wait"
start BEHAVIOUR=crash --
until_there "$out" "starting it again in 1 s"
until_there "$out" "ready on"
has_not "$calls" "^ingest"
kill -TERM "$pid"
expect 0
has "$out" "exit code 101"
start BEHAVIOUR=exit CODE=101 --
until_there "$out" "starting it again in 2 s"
kill -TERM "$pid"
expect 0
has "$home/logs/mentor.log.1" "about to crash"
has_not "$home/logs/mentor.log" "about to crash"

test_case "no key is made where there is one, where nobody else listens, and where everybody may ask"
start HAS_KEYS=yes BEHAVIOUR=exit CODE=0 --
expect 0
has "$calls" "^keys create --if-none"
has_not "$out" "API key"
for setting in MENTOR_LISTEN=127.0.0.1:8000 MENTOR_INSECURE_NO_KEYS=true; do
    : >"$calls"
    start "$setting" BEHAVIOUR=exit CODE=0 --
    expect 0
    has_not "$calls" "^keys"
done
: >"$calls"
start BEHAVIOUR=exit CODE=0 -- --insecure-no-keys
expect 0
has_not "$calls" "^keys"

test_case "a wrong configuration is not tried again"
start BEHAVIOUR=exit CODE=2 --
expect 2
has "$out" "not trying again"
(($(grep -c ^serve "$calls") == 1)) || fail "served more than once"

test_case "without restarts the exit code is the server's"
start BEHAVIOUR=exit CODE=101 -- --no-restart
expect 101
start BEHAVIOUR=exit CODE=0 --
expect 0

test_case "of old logs five are kept"
for _ in 1 2 3 4 5 6 7; do
    start BEHAVIOUR=exit CODE=0 --
    expect 0
done
[[ -f $home/logs/mentor.log.5 && ! -e $home/logs/mentor.log.6 ]] || fail "$(ls "$home/logs")"

echo "    all passed in $SECONDS s"
