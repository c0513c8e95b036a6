#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One of perf's suites, in no time, and the form of its report: perf.sh BIN SUITE CASES. Its figures prove nothing here.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
suite=$2 cases=$3

succeeds "$bin/perf" "$suite" --filter "$cases" --against raw --seconds 0.01 --file-mib 64 \
    --directory "$scratch" --json "$scratch/report.json"
if grep -q 'skipped: ' "$scratch/out"; then skip "$(sed -n "s/.*skipped: //p" "$scratch/out")"; fi
claims "$scratch/report.json" "command==$suite" machine:object 'cases[].name:string' 'cases[].unit:string' \
    'cases[].ours:number'
refuses 'unknown subcommand' "$bin/perf" nonsense
refuses 'nonsense' "$bin/perf" "$suite" --filter nonsense
