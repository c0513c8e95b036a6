#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C in the middle of prefill_decode, SIGINT to it alone, a rank that dies, and its own death: no process is left. Nor is
# one of an engine that has joined it.
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
    if [ "$status" != "$expected" ]; then cat "$scratch/err"; fail "exit status $status after $what, not $expected"; fi
    until_true ended || fail "left behind after $what: $(pgrep -g "$front" -a)"
    if [ "$expected" = 130 ]; then
        claims "$scratch/report.json" 'requests.complete>=1' pages.wrong==0 leaks.total==0 requests.failed==0
    elif [ $what = rank ]; then
        [ "$(grep -c . "$scratch/err")" = 1 ] || { cat "$scratch/err"; fail "not one line on standard error"; }
        grep -q 'prefill-0-0 was ended by signal 9' "$scratch/err" || { cat "$scratch/err"; fail "does not say who died"; }
    fi
done

# What becomes of the job becomes of who has joined it; the next one can be at the same place.
pd=("$bin/prefill_decode" --directory "$scratch/there")
guest_serves() { grep -sq 'decode-1 serves' "$scratch/guest"; }
for what in INT KILL; do
    rm -f "$scratch/out" "$scratch/guest"
    "${pd[@]}" --requests 10000000 --layers 2 --max-tokens 64 --pages 128 > "$scratch/out" 2> "$scratch/err" &
    front=$!
    cleanup+=("kill -KILL -- -$front 2> /dev/null")
    until_true grep -sq pages "$scratch/out" || fail "it does not begin: $(cat "$scratch/out" "$scratch/err")"
    "${pd[@]}" --join decode > "$scratch/guest" 2>&1 &
    guest=$!
    cleanup+=("kill -KILL -- -$guest 2> /dev/null")
    until_true guest_serves || fail "nobody joins: $(cat "$scratch/guest" "$scratch/out" "$scratch/err")"
    kill -$what $front
    [ $what = INT ] && expected='0 decode-1 served [0-9]+ requests' || expected='1 the job has gone'
    status=0
    wait $guest || status=$?
    [ "$status" = "${expected%% *}" ] || { cat "$scratch/guest"; fail "exit status $status of the guest after $what"; }
    grep -Eq "${expected#* }" "$scratch/guest" || { cat "$scratch/guest"; fail "the guest does not say what has happened"; }
    wait $front 2> /dev/null || true
    for front in $front $guest; do until_true ended || fail "left behind after $what: $(pgrep -g "$front" -a)"; done
done
