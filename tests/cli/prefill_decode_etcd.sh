#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# prefill_decode by a directory in etcd: several workers of each find each other there, more join while others serve, some
# leave, die or are interrupted, and etcd itself goes away in the middle. Nobody stays in it who is not there.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
for tool in etcd etcdctl; do
    [ -n "$(command -v $tool)" ] || skip "no $tool (Debian's etcd-server and etcd-client)"
done
export ETCDCTL_API=3
set -m # or the shell starts background programs with SIGINT ignored

# start_etcd: on loopback and free ports, ended with the test.
start_etcd() {
    local tries
    for tries in 1 2 3 4 5; do
        port=$((20000 + (RANDOM % 20000)))
        etcd --data-dir "$scratch/etcd.$tries" --listen-client-urls "http://127.0.0.1:$port" \
            --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
            --initial-cluster "default=http://127.0.0.1:$((port + 1))" --unsafe-no-fsync --logger=zap --log-level=panic \
            > "$scratch/etcd.log" 2>&1 &
        etcd=$!
        cleanup+=("kill -9 $etcd 2> /dev/null")
        until_true answers_or_ended
        if kill -0 $etcd 2> /dev/null; then return; fi
    done
    cat "$scratch/etcd.log"
    fail "etcd does not start"
}
ctl() { etcdctl --endpoints "127.0.0.1:$port" "$@" 2> /dev/null; }
answers_or_ended() { ! kill -0 $etcd 2> /dev/null || ctl get none > /dev/null; }
keys() { ctl get --prefix --keys-only "$1" | grep -c . || true; }
nobody_in() { [ "$(keys "$1")" = 0 ]; }
somebody_in() { [ "$(keys "$1")" -gt 0 ]; }

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

# One dies without a word: its entry expires.
run dies --kill-decode 20 --lease 0.5 --requests 60
whole dies 60
until_true nobody_in dies/ || fail "still there: $(ctl get --prefix --keys-only dies/)"

# etcd goes away while they serve, which they do not mind, and comes again; Ctrl-C lets all of them leave.
kill -9 $etcd
wait $etcd 2> /dev/null || true
kill -0 $long || { cat "$scratch/long.out"; fail "without etcd it ended"; }
etcd --data-dir "$(ls -d "$scratch"/etcd.[0-9] | tail -n 1)" --listen-client-urls "http://127.0.0.1:$port" \
    --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
    --unsafe-no-fsync --logger=zap --log-level=panic > "$scratch/etcd.log" 2>&1 &
etcd=$!
cleanup+=("kill -9 $etcd 2> /dev/null")
until_true somebody_in long/ || fail "they are not there any more"
kill -INT $long
status=0
wait $long || status=$?
[ $status = 130 ] || { cat "$scratch/long.out"; fail "exit status $status after Ctrl-C"; }
claims "$scratch/long.json" 'requests.complete>=1' requests.failed==0 pages.wrong==0 leaks.total==0 interrupted:bool
until_true nobody_in long/ || fail "still there: $(ctl get --prefix --keys-only long/)"
