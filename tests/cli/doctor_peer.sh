#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A doctor that serves and one that visits it, on loopback: what goes well, and all that ends the visit in one line.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
doctor=$bin/doctor
export WYE_DOCTOR_SECRET='kept in the environment'

has_endpoint() { at=$(sed -n 's/^serving at \([^ ]*\).*/\1/p' "$scratch/serve") && [ -n "$at" ]; }
# serve COMMAND...: in the background; $server is its process, $at its endpoint.
serve() {
    : > "$scratch/serve"
    "$@" > "$scratch/serve" 2>&1 &
    server=$!
    cleanup+=("kill -KILL $server 2> /dev/null")
    until_true has_endpoint || { cat "$scratch/serve"; fail "it does not serve: $*"; }
}
# visit_fails PATTERN OPTION...: one line on standard error, a finding that failed, and what to do about it.
visit_fails() {
    local pattern=$1
    shift
    refuses "$pattern" "$doctor" --mib 2 --seconds 0.05 "$@"
    grep -A1 '^failed' "$scratch/out" | grep -q '^   ' || { cat "$scratch/out"; fail "nothing to do about it: $*"; }
}

serve "$doctor" --serve
[[ $at == 127.0.0.1:* ]] || fail "it listens at $at, and nobody asked for that"
for round in 1 2; do
    succeeds "$doctor" --peer "$at" --mib 8 --seconds 0.1 --json "$scratch/report"
    for check in 'side channel' handshake rates told; do
        grep -Eq "^ok +$check " "$scratch/out" || { cat "$scratch/out"; fail "round $round: not ok: $check"; }
    done
done
claims "$scratch/report" findings[].verdict:string findings[].facts:object
succeeds "$doctor" --peer "$at" --mib 2 --seconds 0.05 --json -
mv "$scratch/out" "$scratch/alone"
claims "$scratch/alone" root==/ findings[].check:string
grep -q 'checked 1, 0 wrong' "$scratch/serve" || { cat "$scratch/serve"; fail "the one that serves has not said what it saw"; }

visit_fails 'does not know the secret' --peer "$at" --secret 'something else'
visit_fails 'serves without --efa' --peer "$at" --efa
visit_fails 'refused' --peer 127.0.0.1:1
visit_fails 'malformed' --peer nonsense
visit_fails 'not found|no such host|resol' --peer nobody.invalid:4711
refuses 'secret' env -u WYE_DOCTOR_SECRET "$doctor" --peer "$at"
refuses 'two processes' "$doctor" --peer "$at" --serve

kill -STOP $server
visit_fails 'deadline|timed out' --peer "$at"
kill -CONT $server
succeeds "$doctor" --peer "$at" --mib 2 --seconds 0.05
kill $server

# An agent that is no doctor, and one that serves once.
serve "$bin/two_peers" serve --mib 2 --secret "$WYE_DOCTOR_SECRET"
visit_fails 'no such|not found' --peer "$at"
kill $server
serve "$doctor" --serve 127.0.0.1:0 --once --mib 2
succeeds "$doctor" --peer "$at" --mib 4 --seconds 0.05
wait $server || fail "exit status $? of the one that serves once"

# A fabric that carries nothing, as EFA without its security group: NICs of the stand-in reach nobody in another process.
if [ -d "$bin/providers" ]; then
    export FI_PROVIDER_PATH=$bin/providers
    serve "$doctor" --serve --provider efa
    visit_fails 'the side channel answers, efa does not' --peer "$at" --provider efa
    grep -A1 '^failed' "$scratch/out" | grep -q '1\. .*egress' || { cat "$scratch/out"; fail "the likeliest cause does not come first"; }
fi
