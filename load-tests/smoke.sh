#!/usr/bin/env bash
# A short run of the scenarios against a server with a fake generator, so that neither rots: see `load-tests/smoke.sh --help`.
set -euo pipefail

help() {
    cat <<'END'
Usage: load-tests/smoke.sh [PROGRAMS]

Starts `mentor` from the folder PROGRAMS (.mentor/target/release of this clone by default) with a fake generator and a store of
its own, runs short scenarios of `mentor-load` with limits, stops the server, and removes what it made. About 25 seconds; it
needs the models (MENTOR_MODELS_DIR). The limits are far from what a quiet machine reaches: this finds what is broken, and
measures nothing.
END
}

case ${1:-} in
    --help | -h) help && exit ;;
    -*) help >&2 && exit 2 ;;
esac

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
programs=$(realpath "${1:-$root/.mentor/target/release}")
work=$(mktemp -d)
server=

finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

MENTOR_MODELS_DIR=$(realpath "${MENTOR_MODELS_DIR:-$root/models}")
export MENTOR_MODELS_DIR
cd "$work"
mkdir course
cp "$root"/course_materials/0[67]-*.{html,md} course/
"$programs/mentor" ingest --directory course --data-dir data --device cpu >ingest.log 2>&1 || {
    cat ingest.log
    exit 1
}
printf '%s\n' 'How does a hash table resolve collisions?' 'How is a node deleted from a binary search tree?' >questions.txt

"$programs/mentor" serve --listen 127.0.0.1:0 --data-dir data --materials-dir course --device cpu --fake-generator 50 \
    --slots 40 --max-turns 60 --min-score 0 --address-requests-per-min 0 --address-tokens-per-min 0 --address-connections 0 \
    2>server.log &
server=$!
address=
for _ in $(seq 100); do
    address=$(sed -n 's|^ready *http://\([^ ]*\).*|\1|p' server.log)
    [[ -z $address ]] || break
    kill -0 "$server" || break
    sleep 0.1
done
[[ -n $address ]] || {
    cat server.log
    exit 1
}

failed=()
# scenario NAME ARGUMENTS...: runs one, prints its report where it fails.
scenario() {
    local -r start=$SECONDS
    if "$programs/mentor-load" "$1" --url "ws://$address" --questions questions.txt --pid "$server" --html "$1.html" \
        --at-most errors=0 "${@:2}" >report.txt 2>&1; then
        printf '%s: ok, %d s\n' "$1" $((SECONDS - start))
    else
        printf '%s: FAILED\n' "$1"
        cat report.txt
        failed+=("$1")
    fi
    grep -q '</svg>' "$1.html" || failed+=("the page of $1")
}

scenario stream --conversations 20 --rate 20 --turns 2 --think 0.2 --max-tokens 40 --verify \
    --at-least stored_equal=40 --at-most token_delay_ms.p99=1000
scenario drop --conversations 20 --drops 60 --connected 0.3 --away 0.05 --max-tokens 50 \
    --at-least drops=60 --at-most turns_lost=0
scenario cancel --conversations 10 --turns 2 --after 0.2 --max-tokens 100 --at-most cancel_ms.p99=2000
scenario malformed --max-tokens 5 --at-least answered_as_said=21
scenario flood --healthy 5 --flooding 6 --seconds 2 --max-tokens 40 --at-most unanswered=0
scenario overload --places 60 --clients 150 --capacity-seconds 2 --seconds 3 --factor 4 --max-tokens 20 \
    --at-least rejected=1 --at-most rejected_ms.p99=1000
# The last one: it stops the server, which must say goodbye to all.
scenario idle --connections 300 --hold 1 --drain --at-least closed_1001=300
wait "$server" || failed+=("the server's exit code")
server=

if ((${#failed[@]} > 0)); then
    printf 'failed: %s\n' "${failed[*]}"
    exit 1
fi
