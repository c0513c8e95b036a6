#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A disk that is full: said when the FILE tier is opened, and during the replay where objects are stored.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

mkdir "$scratch/disk"
if ! mount -t tmpfs -o size=2m none "$scratch/disk" 2> /dev/null; then
    [ "${2:-}" != again ] || skip "no filesystem can be mounted here"
    # As root of a namespace of our own we may be allowed to.
    unshare --user --map-root-user --mount true 2> /dev/null || skip "no filesystem can be mounted here"
    exec unshare --user --map-root-user --mount "$0" "$bin" again
fi
cleanup+=("umount $scratch/disk")

refuses 'no space' "$bin/kv_offload" --generate 50 --file "$scratch/disk/file" --file-blocks 1000

# Objects that do not fit are counted and said, and every byte that is served is still right.
refuses 'no space' "$bin/kv_offload" --generate 50 --vram-blocks 10 --dram-blocks 20 --file-blocks 20 \
    --file "$scratch/file" --object "dir:$scratch/disk/objects" --json "$scratch/report.json"
claims "$scratch/report.json" requests==50 corruptions==0 leaked_leases==0 'failed_stores>=1'
if [ -n "$(find "$scratch/disk" -path '*/.wye*' -type f)" ]; then fail "scratch files are left in the store"; fi

# A report that does not fit leaves no half of itself.
head -c 4m /dev/zero > "$scratch/disk/filler" 2> /dev/null || true
refuses 'no space' "$bin/kv_offload" --generate 5 --json "$scratch/disk/report.json"
if compgen -G "$scratch/disk/report*" > /dev/null; then fail "half a report is left"; fi
