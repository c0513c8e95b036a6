# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# Sourced after common.sh by the tests that want an etcd of their own.
for tool in etcd etcdctl; do
    [ -n "$(command -v $tool)" ] || skip "no $tool (Debian's etcd-server and etcd-client)"
done
export ETCDCTL_API=3

# start_etcd: on loopback and free ports ($port), ended with the test ($etcd).
start_etcd() {
    local tries
    for tries in 1 2 3 4 5; do
        port=$((20000 + (RANDOM % 20000)))
        etcd_data=$scratch/etcd.$tries
        run_etcd
        until_true answers_or_ended
        if kill -0 "$etcd" 2> /dev/null; then return; fi
    done
    cat "$scratch/etcd.log"
    fail "etcd does not start"
}
run_etcd() { # with the data and at the port that it had, if it had any
    etcd --data-dir "$etcd_data" --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" --unsafe-no-fsync --logger=zap --log-level=panic \
        > "$scratch/etcd.log" 2>&1 &
    etcd=$!
    cleanup+=("kill -9 $etcd 2> /dev/null")
}
ctl() { etcdctl --endpoints "127.0.0.1:$port" "$@" 2> /dev/null; }
answers_or_ended() { ! kill -0 "$etcd" 2> /dev/null || ctl get none > /dev/null; }
keys() { ctl get --prefix --keys-only "$1" | grep -c . || true; }
nobody_in() { [ "$(keys "$1")" = 0 ]; }
somebody_in() { [ "$(keys "$1")" -gt 0 ]; }
