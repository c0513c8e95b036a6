#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C in the middle of prefill_decode, SIGINT to it alone, a rank that dies, and its own death: no process is left.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set -m # its processes are a group; and the shell starts background programs with SIGINT ignored otherwise

ended() { ! pgrep -g "$front" > /dev/null; }
serves() { grep -q 'prefill writes' "$scratch/out" && [ "$(pgrep -g "$front" | wc -l)" = 4 ]; }
for what in group one rank front; do
    "$bin/prefill_decode" --decode-ranks 2 --requests 10000000 --layers 2 --max-tokens 64 --pages 128 \
        --json "$scratch/report.json" > "$scratch/out" 2> "$scratch/err" &
    front=$!
    cleanup+=("kill -KILL -- -$front 2> /dev/null")
    until_true serves || fail "it does not begin: $(cat "$scratch/out" "$scratch/err")"
    case $what in
        group) kill -INT -- -$front && expected=130 ;;
        one) kill -INT $front && expected=130 ;;
        rank) kill -KILL "$(pgrep -P $front | head -n 1)" && expected=1 ;;
        front) kill -KILL $front && expected=137 ;;
    esac
    status=0
    wait $front || status=$?
    if [ "$status" != $expected ]; then cat "$scratch/err"; fail "exit status $status after $what, not $expected"; fi
    until_true ended || fail "left behind after $what: $(pgrep -g "$front" -a)"
    if [ $expected = 130 ]; then
        claims "$scratch/report.json" 'requests.complete>=1' pages.wrong==0 leaks.total==0 requests.failed==0
    elif [ $what = rank ]; then
        [ "$(grep -c . "$scratch/err")" = 1 ] || { cat "$scratch/err"; fail "not one line on standard error"; }
        grep -q 'prefill-0-0 was ended by signal 9' "$scratch/err" || { cat "$scratch/err"; fail "does not say who died"; }
    fi
done
