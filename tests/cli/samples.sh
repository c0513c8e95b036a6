#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The small samples run, say what they should, and refuse what they do not know.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

succeeds "$bin/hello"
grep -q 'they are the same' "$scratch/out" || fail "hello does not say that the bytes are the same"

succeeds "$bin/embed_poll" --seconds 0.5 --directory "$scratch" --json "$scratch/poll.json"
claims "$scratch/poll.json" 'budget_us==50'
refuses 'unknown option' "$bin/embed_poll" --bad

succeeds "$bin/embed_asio" --seconds 0.5
refuses 'unknown argument' "$bin/embed_asio" bad
