#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C in the middle of `perf rails`, and SIGINT to it alone: no process of its is left, and so none of its networks.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set -m # its processes are a group; and the shell starts background programs with SIGINT ignored otherwise

# networks_of GROUP: how many, of those that this process is not in.
networks_of() {
    local id
    for id in $(pgrep -g "$1"); do readlink "/proc/$id/ns/net" || true; done 2> /dev/null |
        { grep -vxF "$(readlink /proc/self/ns/net)" || true; } | sort -u | wc -l
}
networks_are() { [ "$(networks_of "$perf")" = "$1" ]; }
# The far side serves: there are it, the keeper of its network, and perf.
measures() { [ "$(pgrep -g "$perf" | wc -l) $(pgrep -g "$perf" -x perf | wc -l)" = "3 3" ] && networks_are 2; }
ended() { ! pgrep -g "$perf" > /dev/null; }

for whom in group one; do
    "$bin/perf" rails --seconds 30 > "$scratch/out" 2> "$scratch/err" &
    perf=$!
    cleanup+=("kill -KILL -- -$perf 2> /dev/null")
    if ! until_true measures; then
        grep -q 'skipped: ' "$scratch/out" && skip "$(sed -n "s/.*skipped: //p" "$scratch/out")"
        fail "it does not begin: $(cat "$scratch/out" "$scratch/err")"
    fi
    if [ $whom = group ]; then kill -INT -- -$perf; else kill -INT $perf; fi
    status=0
    wait $perf || status=$?
    if [ "$status" != 130 ]; then cat "$scratch/err"; fail "exit status $status, not 130"; fi
    until_true ended || fail "left behind, after SIGINT to $whom: $(pgrep -g "$perf" -a)"
done
