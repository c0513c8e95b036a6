#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A replay whose last tier is S3: OpenStack Swift on loopback, where it is installed. kv_s3.sh BIN SWIFT_SERVER
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

/usr/bin/python3 "$2" "$scratch/swift" > "$scratch/said" 2> /dev/null &
server=$!
cleanup+=("kill $server 2> /dev/null; wait $server")
serves() { grep -q . "$scratch/said"; }
until_true serves || fail "Swift does not start"
if grep -q skipped "$scratch/said"; then skip "$(sed 's/skipped: //' "$scratch/said")"; fi
read -r _ port < "$scratch/said"

unset http_proxy AWS_PROFILE AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION
export AWS_ACCESS_KEY_ID=test:tester AWS_SECRET_ACCESS_KEY=testing
url="s3://bucket?endpoint=http://127.0.0.1:$port"
succeeds "$bin/kv_offload" --generate 60 --vram-blocks 10 --dram-blocks 20 --file-blocks 40 --file "$scratch/file" \
    --object "$url" --json "$scratch/report.json"
claims "$scratch/report.json" requests==60 'hits.object.blocks>=1' leaked_leases==0 corruptions==0 failed_stores==0

refuses 'OBJ tier .*bucket' env AWS_SECRET_ACCESS_KEY= "$bin/kv_offload" --generate 10 --object "$url"
refuses 'no name of a bucket|malformed' "$bin/kv_offload" --generate 10 --object 's3://'
