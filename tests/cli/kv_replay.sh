#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A replay through all tiers under one policy, and the report's form: kv_replay.sh BIN POLICY
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
policy=$2

succeeds "$bin/kv_offload" --generate 200 --policy "$policy" --vram-blocks 20 --dram-blocks 60 --file-blocks 100 \
    --file "$scratch/file" --object "dir:$scratch/objects" --json "$scratch/report.json" --html "$scratch/report.html"
claims "$scratch/report.json" requests==200 'tokens>=1' 'blocks>=200' \
    hits.{vram,dram,file,object}.{blocks,tokens}:number \
    'hit_rate.total<=1' 'hit_rate.without_shared_block<=1' \
    {ttft_ms,ttft_io_ms}.{p50,p95,p99}:number ttft_is_modelled:bool urgent_fetch_ms.{p50,p99}:number \
    {stall_s,recompute_avoided_s,wasted_prefetch_bytes}:number 'wall_s>=0' 'peak_rss_bytes>=1000000' \
    leaked_leases==0 corruptions==0 failed_stores==0 "settings.policy==$policy"
if [ "$policy" != recompute ]; then
    claims "$scratch/report.json" 'pairs[].from:string' 'pairs[].to:string' 'pairs[].bytes>=1' \
        'pairs[].gb_per_s:number' 'pairs[].busy_s:number' 'hit_rate.total>=0.01'
fi
if [ "$policy" = tiered ]; then
    claims "$scratch/report.json" hits.{vram,dram,file,object}.blocks'>=1'
fi

# One page that needs nothing else.
grep -q '</html>' "$scratch/report.html" || fail "the page is not whole"
if grep -Eq '(src|href)="?https?:' "$scratch/report.html"; then fail "the page loads something"; fi
if [ -n "$(find "$scratch" -path '*/.wye*')" ]; then fail "scratch files are left in the store"; fi
