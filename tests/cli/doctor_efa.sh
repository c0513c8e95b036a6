#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The one command for two hosts with EFA, over tcp between two processes here: it must run to its end, do each of its
# checks, leave no process behind, and say that this proves nothing about EFA.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
doctor=$scratch/doctor # by which name all that it starts can be found
ln -s "$(realpath "$bin/doctor")" "$doctor"
export WYE_DOCTOR_SECRET='kept in the environment'
rails=127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4

has_endpoint() { at=$(sed -n 's/^serving at \([^ ]*\).*/\1/p' "$scratch/serve") && [ -n "$at" ]; }
serve() {
    : > "$scratch/serve"
    "$doctor" --efa --serve --rails $rails --mib 8 --once > "$scratch/serve" 2>&1 &
    server=$!
    cleanup+=("kill -KILL $server 2> /dev/null")
    until_true has_endpoint || { cat "$scratch/serve"; fail "it does not serve"; }
}
gone() { ! pgrep -f "$doctor" > /dev/null; }

serve
succeeds "$doctor" --efa --peer "$at" --rails $rails --mib 8 --seconds 0.1 --json "$scratch/report"
status=0
wait $server || status=$?
[ $status = 0 ] || { cat "$scratch/serve"; fail "exit status $status of the one that serves"; }
until_true gone || fail "left behind: $(pgrep -af "$doctor")"

grep -q 'this is tcp, it proves nothing about EFA' "$scratch/out" || fail "it does not say that this proves nothing"
grep -Eq '^failed' "$scratch/out" && { cat "$scratch/out"; fail "something failed"; }
claims "$scratch/report" verdict==warning efa.provider==tcp\;ofi_rxm 'efa.said==this is tcp, it proves nothing about EFA' efa.proves_efa:bool \
    efa.rails[].rails:number 'efa.rails[].write_bytes_per_s>=1000000' 'efa.rails[].read_bytes_per_s>=1000000' efa.rails[].right:bool \
    efa.blocks[].bytes:number 'efa.latency[].n>=1' 'efa.latency[].p50_us>=0' efa.told.wrong==0 'efa.told.told>=8' \
    'efa.faults.cancelled copies.wrong==0' 'efa.faults.cancelled copies.of==20' 'efa.faults.lost rail.wrong==0' \
    'efa.faults.last rail lost.rail==3' 'efa.faults.last rail lost.back_after_s<=15' 'efa.faults.stopped peer.after_s<=8' \
    'efa.faults.killed peer.after_s<=8' efa.counters.here.before:object efa.counters.there.after:object
[ "$(grep -o '"rails":[124],' "$scratch/report" | sort -u | wc -l)" = 3 ] || fail "not with one rail, two and four"

# The side that serves is killed in the middle: the other one says so, and nothing is left of either.
serve
: > "$scratch/out"
"$doctor" --efa --peer "$at" --rails $rails --mib 8 --seconds 0.1 > "$scratch/out" 2> "$scratch/err" &
visitor=$!
cleanup+=("kill -KILL $visitor 2> /dev/null")
is_at_it() { grep -q '^ok *latency' "$scratch/out"; }
until_true is_at_it || { cat "$scratch/out" "$scratch/err"; fail "it does not begin"; }
kill -KILL $server
status=0
wait $visitor || status=$?
[ $status = 1 ] || fail "exit status $status when the other side is killed"
grep -q 'cannot be reached' "$scratch/err" || { cat "$scratch/err"; fail "it does not say that the other side is gone"; }
until_true gone || fail "left behind: $(pgrep -af "$doctor")"
