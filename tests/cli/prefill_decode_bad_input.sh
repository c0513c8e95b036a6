#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What prefill_decode cannot do is said in one line, and none of its processes is left.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
pd=$bin/prefill_decode

for bad in --model=gpt --scale=0 --layers=33 --direction=both --prefill-workers=0 --prefill-ranks=-1 --decode-workers=99 \
    --decode-ranks=many --page-tokens=0 --pages=0 --requests=0 --concurrency=0 --max-tokens=-5 --seed=x --layer-us=-1 \
    --kill-decode=0 --lease=0 --lease=nan --verify=maybe --vram=gpux; do
    refuses "${bad%%=*}" "$pd" "$bad"
done
refuses 'heads' "$pd" --prefill-ranks 3
refuses 'heads' "$pd" --decode-ranks 16
refuses 'pool' "$pd" --pages 10 --max-tokens 1024
refuses '16384 pages' "$pd" --pages 200000 --max-tokens 1000000
refuses 'memory' "$pd" --pages 200000 --scale 1
refuses 'decode-workers' "$pd" --kill-decode 5 --decode-workers 1
refuses 'middle' "$pd" --kill-decode 200
refuses 'join' "$pd" --join worker --directory "$scratch/found"
refuses '--directory: where' "$pd" --join decode
refuses 'nothing else' "$pd" --join decode --directory "$scratch/found" --requests 5
refuses 'no job is in' "$pd" --join decode --directory "$scratch/found"
refuses 'no directory is a nosuch' "$pd" --join decode --directory nosuch://127.0.0.1:1
refuses 'unknown option' "$pd" --no-such-option
refuses 'needs a value' "$pd" --model
refuses 'nonsense' "$pd" nonsense
refuses 'no such file' "$pd" --json /nonexistent/folder/report

# What a rank finds out.
small=(--requests 5 --layers 1 --pages 64)
refuses 'decode-|prefill-' "$pd" "${small[@]}" --rails 203.0.113.7
refuses 'no such file|not a directory' "$pd" "${small[@]}" --directory /nonexistent/folder/names
refuses 'no directory is a nosuch' "$pd" "${small[@]}" --directory nosuch://127.0.0.1:1
refuses 'etcd://|not an endpoint' "$pd" "${small[@]}" --directory etcd://127.0.0.1:port
# A GPU's memory is played by DRAM where this build can reach that over a fabric, and refused in one line where not.
if ! "$pd" "${small[@]}" --vram standin > "$scratch/out" 2> "$scratch/err"; then
    refuses 'vram|route' "$pd" "${small[@]}" --vram standin
fi
# So is a real one's, where there is none.
if ! "$pd" "${small[@]}" --vram gpu > "$scratch/out" 2> "$scratch/err"; then
    refuses 'vram gpu|route' "$pd" "${small[@]}" --vram gpu
fi
if pgrep -f "^$pd" > /dev/null; then fail "left behind: $(pgrep -af "^$pd")"; fi
