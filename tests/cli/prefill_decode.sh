#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prefill and decode ranks move paged KV caches, all of which arrive, and no page is kept:
# prefill_decode.sh BIN DIRECTION PREFILL_RANKS DECODE_RANKS [OPTION...]
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
direction=$2 prefill=$3 decode=$4
shift 4

succeeds "$bin/prefill_decode" --direction "$direction" --prefill-ranks "$prefill" --decode-ranks "$decode" \
    --requests 300 --layers 3 --max-tokens 256 --pages 64 --json "$scratch/report.json" "$@"
claims "$scratch/report.json" requests.complete==300 requests.failed==0 'pages.verified>=300' pages.wrong==0 \
    leaks.total==0 leaks.{prefill,decode}_pages==0 "settings.direction==$direction" \
    "settings.prefill.ranks==$prefill" "settings.decode.ranks==$decode" 'bytes>=1000000' \
    {transfer,request}_ms.{p50,p95,p99}:number {transfer,request}_ms.samples==300 gb_per_s:number gb_per_s_moving:number \
    'ranks[].name:string' 'ranks[].peak_rss_bytes>=1000000' interrupted:bool
