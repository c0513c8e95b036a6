#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is wrong with the input is said in one line, with its place, and nothing is left behind.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
kv=$bin/kv_offload
mkdir "$scratch/work" "$scratch/in"
cd "$scratch/work"

good='{"timestamp": 0, "input_length": 600, "output_length": 9, "hash_ids": [0, 1]}'

# trace PATTERN LINE: the line, third after two good ones, is refused and its number named.
trace() {
    printf '%s\n%s\n%s\n' "$good" "$good" "$2" > "$scratch/in/trace"
    refuses "$1" "$kv" --trace "$scratch/in/trace"
    grep -q '\b3\b' "$scratch/err" || { cat "$scratch/err"; fail "does not name line 3"; }
}
trace trace 'not json'
trace trace '{"timestamp": 0, "input_length": 600, "output_length": 9, "hash_ids": [0,'
trace trace '[]'
trace hash_ids '{"timestamp": 0, "input_length": 600, "output_length": 9}'
trace hash_ids '{"timestamp": 0, "input_length": 600, "output_length": 9, "hash_ids": "0"}'
trace input_length '{"timestamp": 0, "input_length": -600, "output_length": 9, "hash_ids": [0, 1]}'
trace timestamp '{"timestamp": "now", "input_length": 600, "output_length": 9, "hash_ids": [0, 1]}'
trace trace '{"timestamp": 0, "input_length": 99999999999, "output_length": 9, "hash_ids": [0, 1]}'

# A file that was cut off in the middle of its last line.
printf '%s\n%s' "$good" "${good:0:40}" > "$scratch/in/trace"
refuses '\b2\b' "$kv" --trace "$scratch/in/trace"
refuses 'no such file' "$kv" --trace "$scratch/in/missing"
refuses 'directory' "$kv" --trace "$scratch/in"

for bad in --generate=-1 --generate=0 --generate=many --requests=-5 --bytes-per-token=-128 --bytes-per-token=0 \
    --bytes-per-token=99999999999999999999 --vram-blocks=-1 --dram-blocks=1e3 --file-blocks=-2 --speedup=0 \
    --speedup=-1 --speedup=nan --prefill-tokens-per-s=0 --evict=fifo --policy=none --verify=maybe --vram=gpux; do
    refuses "${bad%%=*}" "$kv" "$bad"
done
refuses 'memory' "$kv" --dram-blocks 1000000000 --bytes-per-token 1048576
[ -e /dev/nvidiactl ] || refuses '--vram gpu: ' "$kv" --vram gpu # where there is no GPU
refuses 'unknown option' "$kv" --no-such-option
refuses 'needs a value' "$kv" --trace
refuses 'nonsense' "$kv" nonsense

refuses 'no such file|not a directory' "$kv" --generate 5 --file /nonexistent/folder/file
refuses 'directory' "$kv" --generate 5 --file "$scratch/in"
refuses 'no such file' "$kv" --generate 5 --json /nonexistent/folder/report
refuses 'no such file' "$kv" --generate 5 --html /nonexistent/folder/report
refuses 'nosuch' "$kv" --generate 5 --object nosuch:/place
refuses 'malformed' "$kv" --generate 5 --object dir:
refuses 'object|no such file|not a directory' "$kv" --generate 5 --object dir:/dev/null/objects

no_leftovers "$scratch/work"
