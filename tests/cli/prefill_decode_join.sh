#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Engines come to a job that serves, are found by its ranks in the directory, and get requests; one leaves in order, two die, one stays.
# The job comes to its end with all requests complete, and nobody is in the directory any more:
# prefill_decode_join.sh BIN files|etcd DIRECTION
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
if [ "$2" = etcd ]; then
    # shellcheck source-path=SCRIPTDIR source=etcd.sh
    . "$(dirname "${BASH_SOURCE[0]}")/etcd.sh"
    start_etcd
    where=etcd://127.0.0.1:$port/job
    entries() { ctl get --prefix --keys-only job/ | grep . || true; }
else
    where=$scratch/job
    entries() { find "$where" -mindepth 1 -printf 'job/%f\n'; }
fi
set -m # or the shell starts background programs with SIGINT ignored
pd=$bin/prefill_decode
is_there() { entries | grep -q "^job/$1"; }
is_away() { ! is_there "$1"; }
nobody_there() { [ -z "$(entries)" ]; }

declare -A id # of processes, by name
join() { # join NAME ROLE: brings an engine, and waits until it has a request
    "$pd" --directory "$where" --join "$2" > "$scratch/$1.out" 2> "$scratch/$1.err" &
    id[$1]=$!
    cleanup+=("kill -KILL $! 2> /dev/null")
    until_true grep -sq ' serves in ' "$scratch/$1.out" || fail "$1 gets nothing: $(cat "$scratch/$1."* "$scratch/job."*)"
}
ends() { # ends NAME STATUS PATTERN: and says so
    local status=0
    wait "${id[$1]}" || status=$?
    [ "$status" = "$2" ] || { cat "$scratch/$1".*; fail "exit status $status of $1, not $2"; }
    cat "$scratch/$1.out" "$scratch/$1.err" | grep -Eq "$3" || { cat "$scratch/$1".*; fail "$1 does not say '$3'"; }
}

refuses 'no job is in' "$pd" --directory "$where" --join decode

# Simulated compute keeps it busy for as long as all that follows takes; who reads has that only in each second request.
requests=$([ "$3" = write ] && echo 300 || echo 500)
"$pd" --directory "$where" --direction "$3" --decode-ranks 2 --lease 0.5 --requests "$requests" --concurrency 6 --layers 2 \
    --layer-us 120000 --layerwise --max-tokens 128 --pages 64 --json "$scratch/report.json" > "$scratch/job.out" 2> "$scratch/job.err" &
id[job]=$!
cleanup+=("kill -KILL $! 2> /dev/null")
until_true grep -sq pages "$scratch/job.out" || fail "the job does not begin: $(cat "$scratch/job."*)"

refuses 'another job is in' "$pd" --directory "$where" --requests 5 --layers 1 --pages 64
is_there front || fail "the job is not there any more"

join leaver decode
is_there decode-1-1 || fail "not in the directory: $(entries)"
join stayer prefill
join killed prefill
join broken decode
kill -INT "${id[leaver]}"
ends leaver 0 'decode-1 served [1-9][0-9]* requests, and has left'
is_away decode-1- || fail "still there: $(entries)"

# One goes with all of its processes, of another a rank dies, or stops.
kill -KILL "${id[killed]}"
wait "${id[killed]}" 2> /dev/null || true
rank=$(pgrep -P "${id[broken]}" | head -n 1)
if [ "$2" = etcd ]; then
    kill -STOP "$rank"
    ends broken 1 'lost decode-2: its peers have lost it'
else
    kill -KILL "$rank"
    ends broken 1 'lost decode-2: decode-2-[01] has died'
fi
until_true is_away prefill-2- || fail "still there: $(entries)"

ends job 0 'joined +4 engines, 1 left, 2 lost'
ends stayer 0 'prefill-1 served [1-9][0-9]* requests'
claims "$scratch/report.json" requests.complete=="$requests" requests.failed==0 pages.wrong==0 leaks.total==0 joined==4 left==1 lost==2 \
    'engines[].name:string' 'engines[].requests:number' 'engines[].joined:bool' 'engines[].end:string' \
    settings.direction=="$3" settings.found_by==directory
until_true nobody_there || fail "still there: $(entries)"
if pgrep -f "^$pd" > /dev/null; then fail "left behind: $(pgrep -af "^$pd")"; fi
