#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A decode rank is killed in the middle: prefill gets its pages back, what was lost is served by the other engine, and
# nothing else is affected. prefill_decode_killed.sh BIN DIRECTION
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

succeeds "$bin/prefill_decode" --direction "$2" --prefill-ranks 1 --decode-ranks 2 --kill-decode 80 --lease 0.5 \
    --requests 200 --layers 3 --max-tokens 256 --pages 64 --json "$scratch/report.json"
claims "$scratch/report.json" requests.complete==200 requests.failed==0 'requests.retried>=1' pages.wrong==0 leaks.total==0 \
    'killed.after_requests>=80' 'killed.requests_with_it>=1' 'killed.pages_held_for_it>=1' 'killed.freed_within_s<=30' \
    killed.holds_ended.{lost,revoked,told}:number killed.who==decode-1-1
grep -q 'lost .*decode-1-1' "$scratch/out" || fail "the table does not say who was killed"
