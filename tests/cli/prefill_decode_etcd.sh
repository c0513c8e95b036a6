#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# prefill_decode by a directory in etcd: several workers of each find each other there, beside another job; some die or are
# interrupted, and etcd itself goes away in the middle. Nobody stays in it who is not there. No two jobs are at one place.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source-path=SCRIPTDIR source=etcd.sh
. "$(dirname "${BASH_SOURCE[0]}")/etcd.sh"
set -m # or the shell starts background programs with SIGINT ignored

job() { # job PREFIX OPTION...: what `job` then holds is run by the directory
    local prefix=$1
    shift
    job=("$bin/prefill_decode" --directory "etcd://127.0.0.1:$port/$prefix" --layers 2 --max-tokens 128 --pages 64
        --json "$scratch/$prefix.json" "$@")
}
run() { # run PREFIX OPTION...
    job "$@"
    "${job[@]}" > "$scratch/$1.out" 2>&1 || { cat "$scratch/$1.out"; fail "exit status $? of: ${job[*]}"; }
}
whole() { # whole PREFIX REQUESTS: it did all it had to
    claims "$scratch/$1.json" "requests.complete==$2" requests.failed==0 pages.wrong==0 leaks.total==0 settings.found_by==directory
}

start_etcd
# A job that serves for long; meanwhile others join and leave.
job long --prefill-workers 2 --decode-workers 3 --decode-ranks 2 --requests 10000000
"${job[@]}" > "$scratch/long.out" 2>&1 &
long=$!
cleanup+=("kill $long 2> /dev/null")
until_true somebody_in long/ || { cat "$scratch/long.out"; fail "nobody has joined"; }
run joins --prefill-workers 2 --decode-workers 2 --requests 60
whole joins 60
nobody_in joins/ || fail "still there: $(ctl get --prefix --keys-only joins/)"

# Who comes to a place at which a job is goes again; a job whose place is taken away from it says so.
refuses 'another job is in etcd.*long' "$bin/prefill_decode" --directory "etcd://127.0.0.1:$port/long" --requests 5
job taken --requests 10000000
"${job[@]}" > "$scratch/taken.out" 2> "$scratch/taken.err" &
taken=$!
cleanup+=("kill $taken 2> /dev/null")
until_true grep -sq pages "$scratch/taken.out" || { cat "$scratch/taken".*; fail "it does not begin"; }
ctl put taken/front 'elsewhere some-socket' > /dev/null
status=0
wait $taken || status=$?
[ $status = 1 ] || fail "exit status $status, not 1"
grep -q 'another job has come to etcd' "$scratch/taken.err" || { cat "$scratch/taken.err"; fail "does not say why it ends"; }
refuses 'the job is on elsewhere' "$bin/prefill_decode" --directory "etcd://127.0.0.1:$port/taken" --join decode

# One dies without a word: its entry expires.
run dies --kill-decode 20 --lease 0.5 --requests 60
whole dies 60
until_true nobody_in dies/ || fail "still there: $(ctl get --prefix --keys-only dies/)"

# etcd goes away while they serve, which they do not mind, and comes again; Ctrl-C lets all of them leave.
kill -9 $etcd
wait $etcd 2> /dev/null || true
kill -0 $long || { cat "$scratch/long.out"; fail "without etcd it ended"; }
run_etcd
until_true somebody_in long/ || fail "they are not there any more"
kill -INT $long
status=0
wait $long || status=$?
[ $status = 130 ] || { cat "$scratch/long.out"; fail "exit status $status after Ctrl-C"; }
claims "$scratch/long.json" 'requests.complete>=1' requests.failed==0 pages.wrong==0 leaks.total==0 interrupted:bool
until_true nobody_in long/ || fail "still there: $(ctl get --prefix --keys-only long/)"
