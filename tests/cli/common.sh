# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the tests of programs: tests/cli/NAME.sh BIN, where BIN is the folder of the built programs.
set -euo pipefail

bin=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/wye-test.XXXXXX")
cleanup=()
finish() {
    local step
    for step in "${cleanup[@]}"; do eval "$step" || true; done
    rm -rf "$scratch"
}
trap finish EXIT

fail() { printf 'FAILED: %s\n' "$*"; exit 1; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

# claims FILE CLAIM...: what the JSON document must hold; see tests/support/json_check.cpp.
claims() { "$bin/json_check" "$@" || fail "the report does not hold what it must"; }

# succeeds COMMAND...: its output is shown only when it fails.
succeeds() {
    local status=0
    "$@" > "$scratch/out" 2> "$scratch/err" || status=$?
    [ "$status" = 0 ] && return
    cat "$scratch/out" "$scratch/err"
    fail "exit status $status of: $*"
}

# refuses PATTERN COMMAND...: it must end by itself with an error status and say why in one line that matches.
refuses() {
    local pattern=$1 status=0
    shift
    timeout 60 "$@" > "$scratch/out" 2> "$scratch/err" || status=$?
    if [ "$status" = 0 ]; then fail "this must fail and does not: $*"; fi
    if [ "$status" = 124 ]; then fail "this must end and does not: $*"; fi
    if [ "$status" -ge 126 ]; then cat "$scratch/err"; fail "exit status $status of: $*"; fi
    if [ "$(grep -c . "$scratch/err")" != 1 ]; then cat "$scratch/err"; fail "not one line on standard error: $*"; fi
    grep -Eqi -e "$pattern" "$scratch/err" || { cat "$scratch/err"; fail "does not say '$pattern': $*"; }
}

# no_leftovers FOLDER: nothing may remain in it.
no_leftovers() {
    local left
    left=$(find "$1" -mindepth 1 -not -type d)
    [ -z "$left" ] || fail "left behind: $left"
}

# until_true COMMAND...: waits for it, for at most half a minute; false when it never came true.
until_true() {
    local end=$((SECONDS + 30))
    until "$@"; do
        if [ $SECONDS -ge $end ]; then return 1; fi
        read -rt 0.02 <> <(:) || true
    done
}
