#!/usr/bin/env bash
# Cargo's workspace wrapper for lints: `clippy.sh RUSTC ARGUMENTS...` compiles one of our crates with Clippy, see test.sh.
#
# Only the lints are wanted. So there is no optimisation, and programs and tests are "linked" into empty files: fifteen of
# them would take as many minutes and gigabytes. Build scripts and macros are run by the build itself, so they stay real.
set -euo pipefail

extra=(-D warnings)
case " $* " in
    *' --crate-name build_script_'* | *' --crate-type proc-macro '*) ;;
    *) extra+=(-C opt-level=0 -C strip=none -C linker="$(dirname "$0")/no-link.sh") ;;
esac
# CLIPPY_DRIVER is set by test.sh.
exec "$CLIPPY_DRIVER" "$@" "${extra[@]}"
