# shellcheck shell=bash
# What run.sh, test.sh and runpod/start.sh share: tools, toolchain, build, models, weights, first ingest. Sourced, never run.
#
# Everything is quick when there is nothing to do: tools are looked for before packages, and no step needs the network once
# its result is there. The folder of the clone is `root`, and it is the working directory: relative paths start there.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 2

readonly OLDEST_RUSTC=1.91 # the `rust-version` of Cargo.toml; also the first cargo with a build directory (see choose_folders)
readonly BAD_SETUP=2       # something is missing or misconfigured; what `mentor` itself uses for that
readonly SOME_FAILED=3     # `mentor ingest`: some documents had no text

say() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit "$BAD_SETUP"
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- Tools from the system -------------------------------------------------------------------------------------------

# bindgen loads it when llama.cpp is built. `ldconfig` is often not on the PATH of a user.
have_libclang() {
    compgen -G "${LIBCLANG_PATH:-/usr/lib/llvm-*/lib}/libclang*.so*" >/dev/null && return
    compgen -G '/usr/lib*/libclang*.so*' >/dev/null && return
    compgen -G '/usr/lib/*/libclang*.so*' >/dev/null && return
    have llvm-config && compgen -G "$(llvm-config --libdir)/libclang*.so*" >/dev/null
}

# Lance's formats import protobuf's own, which Debian ships apart from the compiler.
have_protobuf() {
    local protoc folder
    protoc=$(command -v "${PROTOC:-protoc}") || return
    protoc=$(readlink -f "$protoc")
    for folder in "${PROTOC_INCLUDE:-}" "${protoc%/bin/*}/include" /usr/include /usr/local/include; do
        if [[ -f $folder/google/protobuf/any.proto ]]; then return 0; fi
    done
    return 1
}

have_certificates() {
    [[ -s ${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} ]] ||
        compgen -G "${SSL_CERT_DIR:-/etc/ssl/certs}/*.pem" >/dev/null || [[ -s /etc/pki/tls/certs/ca-bundle.crt ]]
}

# Debian's names of the packages whose tools are not there, one a line.
missing_packages() {
    have cmake || echo cmake
    have make || echo make
    have c++ || echo g++
    have clang || echo clang
    have_libclang || echo libclang-dev
    have_protobuf || printf '%s\n' protobuf-compiler libprotobuf-dev
    have_certificates || echo ca-certificates
}

# install_packages PACKAGE...: with apt-get; asks before it uses sudo, and never asks anything else.
install_packages() {
    local as_root=()
    local -r by_hand="sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
    if ! have apt-get; then
        if ! { have cmake && have make && have c++ && have "${PROTOC:-protoc}"; }; then
            die "please install what these Debian packages hold, then start again: $*"
        fi
        warn "not found where Debian has them: $*; the build will say if it needs them"
        return
    fi
    [[ -z ${MENTOR_NO_INSTALL:-} ]] || die "missing packages, and MENTOR_NO_INSTALL is set; install them with: $by_hand"
    if ((EUID != 0)); then
        if [[ ! -t 0 ]] || ! have sudo; then die "missing packages; install them with: $by_hand"; fi
        local answer=no
        read -r -p "Missing packages: $*. Install them with sudo apt-get? [y/N] " answer || true
        [[ $answer == [yY]* ]] || die "nothing installed; the command is: $by_hand"
        as_root=(sudo)
    fi
    say "Installing $*"
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=2)
    "${as_root[@]}" update -qq || warn "apt-get update failed (no network?); trying with the lists that are here"
    "${as_root[@]}" install -y -qq --no-install-recommends "$@" </dev/null ||
        die "apt-get could not install: $* (see above; without a network, install them from your own mirror)"
}

need_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || warn "still not found: ${missing[*]}; the build will say if it needs them"
}

# --- Rust ------------------------------------------------------------------------------------------------------------

readonly INSTALL_RUST="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"

# A fresh rustup is not on the PATH before the next login.
find_cargo() {
    have cargo && return
    [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]] || return
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
}

need_rust() {
    local version
    find_cargo || die "no Rust toolchain; install it with: $INSTALL_RUST"
    version=$(rustc --version 2>/dev/null) || die "cargo is there, but no working rustc; with rustup: rustup default stable"
    version=${version#rustc }
    version=${version%% *}
    [[ $(printf '%s\n' "$OLDEST_RUSTC" "${version%%-*}" | sort -V | head -n 1) == "$OLDEST_RUSTC" ]] ||
        die "rustc $version is too old, $OLDEST_RUSTC or newer is needed; with rustup: rustup update stable"
}

# --- Build -----------------------------------------------------------------------------------------------------------

# Where cargo puts things. 650 crates take long to build, so clones share them: the build directory is outside the clone.
# What belongs to one clone must not be shared: cargo compares times, not contents, so that with one target directory an
# unchanged clone would run what another clone built last. Hence two settings:
# - finished programs go to the clone's own .mentor/ (CARGO_TARGET_DIR), built crates to the shared folder (build-dir);
# - cargo hashes the path of the workspace wrapper into our own crates' file names, never into other crates'. It is in the
#   clone, so the clone's crates get names of their own. It does nothing else.
choose_folders() {
    local -r cache=${XDG_CACHE_HOME:-$HOME/.cache}/mentor
    export MENTOR_CACHE_DIR=${MENTOR_CACHE_DIR:-$cache}
    export MENTOR_TARGET_DIR=${MENTOR_TARGET_DIR:-${CARGO_TARGET_DIR:-$cache/target}}
    export CARGO_BUILD_BUILD_DIR=$MENTOR_TARGET_DIR
    export CARGO_TARGET_DIR=$root/.mentor/target
    export RUSTC_WORKSPACE_WRAPPER=$root/scripts/rustc.sh
}

# Some crates take about 2 GB to compile: on a machine with many cores and little memory, fewer at once.
limit_jobs() {
    [[ -z ${CARGO_BUILD_JOBS:-} && -r /proc/meminfo ]] || return 0
    local available_mb limit jobs
    available_mb=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
    limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
    if [[ $limit =~ ^[0-9]{1,15}$ ]] && ((limit / 1048576 < available_mb)); then available_mb=$((limit / 1048576)); fi
    jobs=$((available_mb / 2048 > 0 ? available_mb / 2048 : 1))
    ((jobs >= $(nproc))) || export CARGO_BUILD_JOBS=$jobs
}

# The arguments that every build of the workspace shares, so that nothing is built twice.
cargo_arguments() {
    arguments=(--release --workspace --locked)
    [[ -z ${MENTOR_FEATURES:-} ]] || arguments+=(--features "$MENTOR_FEATURES")
}

explain_failed_build() {
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    if ! cargo fetch --locked --offline --target "$host" >/dev/null 2>&1; then
        die "the build failed, and not all crates are on this machine: the first build needs a network (https://crates.io)"
    fi
    die "the build failed: see above"
}

# Leaves the program's path in `mentor`. MENTOR_BIN names one that is already built; the program does not know that variable.
build() {
    if [[ -n ${MENTOR_BIN:-} ]]; then
        [[ -x $MENTOR_BIN ]] || die "MENTOR_BIN=$MENTOR_BIN is not a program"
        mentor=$(realpath "$MENTOR_BIN")
        unset MENTOR_BIN
        return
    fi
    need_packages
    need_rust
    choose_folders
    limit_jobs
    local arguments
    cargo_arguments
    if [[ ! -d $MENTOR_TARGET_DIR/release/deps ]]; then
        say "Building in $MENTOR_TARGET_DIR: the first time takes 10 minutes on a large machine, an hour on 2 cores"
    fi
    mkdir -p "$MENTOR_TARGET_DIR" || die "cannot write to $MENTOR_TARGET_DIR; set MENTOR_TARGET_DIR"
    cargo build "${arguments[@]}" || explain_failed_build
    # shellcheck disable=SC2034 # read by those who source this file
    mentor=$CARGO_TARGET_DIR/release/mentor
}

# --- Models and course -----------------------------------------------------------------------------------------------

# pull_models [FLAG or NAME...]: the default models, or those named; only looks when they are there.
pull_models() {
    "$mentor" models pull "$@" ||
        die "the models are not complete: see above. They are downloaded once; offline, copy the folder models/ from elsewhere"
}

# convert_weights [FLAG...]: the generator's weights, rewritten once to the type that is fastest on this machine. Says nothing and
# takes some hundredths of a second when that is done; a failure costs speed alone, so it is a warning.
convert_weights() {
    "$mentor" models convert --setup "$@" ||
        warn "the generator's weights stay as shipped: mentor models convert ended with exit code $?"
}

# is_empty FOLDER: true when it is not there, or holds nothing but a README and hidden files.
is_empty() {
    [[ ! -d $1 || -z $(find "$1" -mindepth 1 -maxdepth 1 ! -name '.*' ! -iname 'README*' -print -quit) ]]
}

# ingest_if_empty [FLAG...]: the first course. The flags are the program's configuration, the same that `serve` gets.
ingest_if_empty() {
    local stats stored=0 code=0
    if stats=$("$mentor" stats --json "$@"); then
        [[ $stats =~ \"documents\":\ *([0-9]+) ]] || die "mentor stats --json does not say how many documents there are: $stats"
        stored=${BASH_REMATCH[1]}
    elif ! is_empty "${MENTOR_DATA_DIR:-vector_data}"; then
        die "the store cannot be read: see above"
    fi
    if ((stored > 0)); then return 0; fi
    say "The store is empty: ingesting the course materials"
    "$mentor" ingest "$@" || code=$?
    case $code in
        0) ;;
        "$SOME_FAILED") warn "some documents could not be read (listed above); serving the others" ;;
        *) die "ingesting failed with exit code $code: see above" ;;
    esac
}
