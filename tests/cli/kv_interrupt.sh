#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGINT in the middle of a replay: what is under way drains, the report is written, nothing temporary is left.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set -m # or the shell starts background programs with SIGINT ignored
mkdir "$scratch/work"

# Arrivals in real time: it would go on for half an hour.
(cd "$scratch/work" && exec "$bin/kv_offload" --generate 4000 --speedup 5 --vram-blocks 10 --dram-blocks 20 \
    --file-blocks 20 --object "dir:$scratch/objects" --json "$scratch/report.json") > "$scratch/out" 2> "$scratch/err" &
replay=$!
cleanup+=("kill -KILL $replay 2> /dev/null")
objects() { compgen -G "$scratch/objects/*/*" > /dev/null; }
until_true objects || fail "no block reached the store: the replay did not begin"

kill -INT $replay
status=0
wait $replay || status=$?
if [ "$status" != 130 ]; then cat "$scratch/err"; fail "exit status $status, not 130"; fi
claims "$scratch/report.json" 'requests>=1' 'requests<=3999' corruptions==0 leaked_leases==0
no_leftovers "$scratch/work"
if [ -n "$(find "$scratch/objects" -path '*/.wye*')" ]; then fail "scratch files are left in the store"; fi
