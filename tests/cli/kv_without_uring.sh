#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Where the kernel refuses io_uring the FILE tier goes through threads, and the report says so.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$bin/without_uring" true || skip "no seccomp filter can be installed here"
succeeds "$bin/without_uring" "$bin/kv_offload" --generate 100 --vram-blocks 20 --dram-blocks 60 --file-blocks 1000 \
    --file "$scratch/file" --json "$scratch/report.json"
claims "$scratch/report.json" requests==100 'hits.file.blocks>=1' corruptions==0 leaked_leases==0 \
    settings.file_driver==file/threads
