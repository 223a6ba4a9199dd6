#!/usr/bin/env bash
# Cargo's workspace wrapper: its path alone matters, see choose_folders in setup.sh.
exec "$@"
