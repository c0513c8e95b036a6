#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# prefill_decode by a directory, over several rails, layer by layer, of a model with latents, and with several engines.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
pd() {
    succeeds "$bin/prefill_decode" --requests 60 --layers 4 --max-tokens 128 --pages 64 --json "$scratch/report.json" "$@"
    claims "$scratch/report.json" requests.complete==60 requests.failed==0 pages.wrong==0 'pages.verified>=60' leaks.total==0
}

pd --directory "$scratch/found"
claims "$scratch/report.json" settings.found_by==directory
no_leftovers "$scratch/found"

pd --rails 127.0.0.1,127.0.0.2 --direction read --prefill-workers 2 --decode-workers 2
claims "$scratch/report.json" 'settings.rails[]:string' settings.prefill.workers==2

# A latent is on every rank: each decode rank has one that it takes it from, and prefill's others let go at once.
for direction in write read; do
    pd --model deepseek-mla --direction $direction --prefill-ranks 3 --decode-ranks 2
    claims "$scratch/report.json" settings.model==deepseek-mla
done

for direction in write read; do
    pd --direction $direction --layerwise --layer-us 1000 --prefill-ranks 2
    claims "$scratch/report.json" 'overlap.hidden<=1' overlap.{plain_ms,layerwise_ms}:number settings.layer_us==1000
done

succeeds "$bin/prefill_decode" --requests 20 --layers 2 --max-tokens 64 --verify off --json "$scratch/report.json"
claims "$scratch/report.json" requests.complete==20 pages.verified==0 leaks.total==0
