#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the doctor says of this machine, and of others' /proc, /sys and /dev, made up here.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
doctor=$bin/doctor

# put FILE WORDS...: a file of the tree that is being made.
put() {
    local file=$tree/$1
    shift
    mkdir -p "$(dirname "$file")"
    printf '%s\n' "$*" > "$file"
}
limit() { # NAME VALUE, among the others
    sed -i "s|^$1 .*|$1         $2         $2         units|" "$tree/proc/self/limits"
}
# A host with two EFA devices that have exchanged packets, all of it well.
healthy() {
    tree=$scratch/tree
    rm -rf "$tree"
    local d i=0
    for d in rdmap79s0 rdmap80s0; do
        local at=sys/class/infiniband/$d
        put $at/device/vendor 0x1d0f
        put $at/device/numa_node 0
        put $at/hw_counters/lifespan 12
        put $at/hw_counters/reg_mr_err 0
        put $at/ports/1/state 4: ACTIVE
        put $at/ports/1/rate 100 Gb/sec '(4X EDR)'
        put $at/ports/1/hw_counters/tx_pkts 900
        put $at/ports/1/hw_counters/rx_pkts 800
        put $at/ports/1/hw_counters/rx_drops 0
        put dev/infiniband/uverbs$i
        i=$((i + 1))
    done
    mkdir -p "$tree/proc/self"
    printf '%s\n' 'Limit                     Soft Limit           Hard Limit           Units' \
        'Max locked memory         unlimited            unlimited            bytes' \
        'Max open files            20000                20000                files' > "$tree/proc/self/limits"
    put proc/self/status 'CapEff: 0000000000000000'
    put proc/self/cgroup 0::/pod
    printf 'HugePages_Total: 64\nHugePages_Free: 60\nHugepagesize: 2048 kB\n' > "$tree/proc/meminfo"
    put sys/kernel/mm/transparent_hugepage/enabled 'always [madvise] never'
    put proc/sys/kernel/osrelease 6.1.0-18-cloud-amd64
}
# says VERDICT CHECK PATTERN [OPTION...]: a finding, and the exit status that goes with it.
says() {
    local verdict=$1 check=$2 pattern=$3 status=0
    shift 3
    timeout 60 "$doctor" --sys "$tree" --json "$scratch/report" "$@" > "$scratch/out" 2> "$scratch/err" || status=$?
    grep -Eq "^$verdict +$check .*$pattern" "$scratch/out" || { cat "$scratch/out"; fail "not '$verdict $check $pattern'"; }
    claims "$scratch/report" findings[].check:string findings[].verdict:string findings[].why:string findings[].do:array
    if grep -q '^failed' "$scratch/out"; then
        [ $status = 1 ] || fail "exit status $status with something that failed"
        [ "$(grep -c . "$scratch/err")" = 1 ] || { cat "$scratch/err"; fail "not one line on standard error"; }
        claims "$scratch/report" verdict==failed
    else
        [ $status = 0 ] && [ ! -s "$scratch/err" ] || { cat "$scratch/err"; fail "exit status $status with nothing that failed"; }
    fi
}
# then_says PATTERN...: lines of the same output, in this order.
then_says() {
    local pattern from=0 at
    for pattern in "$@"; do
        at=$(tail -n +$((from + 1)) "$scratch/out" | grep -nEm1 -e "$pattern" | cut -d: -f1)
        [ -n "$at" ] || { cat "$scratch/out"; fail "no '$pattern' after line $from"; }
        from=$((from + at))
    done
}

# This machine, whatever it is: an answer to everything, and a document.
status=0
timeout 60 "$doctor" --json "$scratch/report" > "$scratch/out" 2> "$scratch/err" || status=$?
[ $status -le 1 ] || fail "exit status $status"
for check in libfabric 'rdma devices' 'locked memory' 'huge pages'; do
    grep -Eq "^(ok|warning|failed) +$check " "$scratch/out" || { cat "$scratch/out"; fail "nothing about $check"; }
done
claims "$scratch/report" root==/ findings[].check:string findings[].verdict:string findings[].why:string

healthy
says ok 'rdma devices' '2 devices: rdmap79s0, rdmap80s0'
grep -Eq '^(warning|failed)' "$scratch/out" && { cat "$scratch/out"; fail "something is wrong with a healthy host"; }
then_says '^ok +rail state .*200 Gb/s together' '^ok +device files' '^ok +locked memory +unlimited' '^ok +queue pairs +1 .*64 address handles' \
    '^ok +counters +1800 packets sent, 1600 received'
claims "$scratch/report" verdict==ok "root==$tree"

# Packets go out and none come in: why, the likeliest cause first.
put sys/class/infiniband/rdmap80s0/ports/1/hw_counters/rx_pkts 0
says failed counters 'rdmap80s0: 900 packets sent and none received'
then_says '1\. .*egress' '2\. .*primary CIDR' '3\. .*device plugin'
grep -q 'rdmap79s0: ' "$scratch/out" && fail "it blames the device that is well"

healthy
put sys/class/infiniband/rdmap79s0/ports/1/hw_counters/rx_drops 30
put sys/class/infiniband/rdmap79s0/hw_counters/reg_mr_err 3
put sys/class/infiniband/rdmap79s0/hw_counters/strange 'no number'
says warning counters 'rdmap79s0: 30 packets dropped of 800'
then_says '^warning +counters +reg_mr_err 3: registrations were refused'

healthy
rm -r "$tree"/sys/class/infiniband/*/hw_counters "$tree"/sys/class/infiniband/*/ports/1/hw_counters
says warning counters 'no hw_counters'

# What may be locked: little, little but for who is privileged, enough.
healthy
limit 'Max locked memory' 65536
says failed 'locked memory' '64 KiB may be locked, and NICs shall reach 16 GiB'
put proc/self/status 'CapEff: 0000000000004000'
says ok 'locked memory' 'CAP_IPC_LOCK'
put proc/self/status 'CapEff: 0000000000000000'
limit 'Max locked memory' 17179869184
says ok 'locked memory' '16 GiB may be locked'
says failed 'locked memory' 'NICs shall reach 17 GiB' --register-gib 17
rm "$tree/proc/self/limits"
says warning 'locked memory' 'does not say'

healthy
put sys/kernel/mm/transparent_hugepage/enabled 'always madvise [never]'
printf 'HugePages_Total: 0\nHugePages_Free: 0\n' > "$tree/proc/meminfo"
says warning 'huge pages' '0 free of 0 reserved; transparent ones: never'
says ok 'nic page tables' '4 KiB are 16777216 entries' --register-gib 64
says failed 'nic page tables' '4 KiB are 33554432 entries' --register-gib 128

# A device without a file, one that is down, none at all, one without a driver.
healthy
rm "$tree/dev/infiniband/uverbs1"
says ok 'device files' '1 device of 2 in /dev/infiniband: the others belong to somebody else'
rm -r "$tree/dev"
says failed 'device files' '2 RDMA devices, and /dev/infiniband none'
then_says 'device plugin'
healthy
put sys/class/infiniband/rdmap80s0/ports/1/state 1: DOWN
says failed 'rail state' 'not active: rdmap80s0 DOWN'
rm -r "$tree/sys/class/infiniband"
says warning 'rdma devices' 'none in /sys/class/infiniband'
put sys/bus/pci/devices/0000:4f:00.0/vendor 0x1d0f
put sys/bus/pci/devices/0000:4f:00.0/device 0xefa1
says failed 'rdma devices' '1 EFA function on the PCI bus \(0000:4f:00.0\) without a driver'

# The budget, where /sys says what there is.
healthy
says ok registrations '161 of each rail for 80 published regions; how many there are is not in /sys'
put sys/fs/cgroup/pod/rdma.max 'rdmap79s0 hca_handle=4 hca_object=100'
says failed 'rdma cgroup' '177 objects of each device, of 100 by /sys/fs/cgroup/pod/rdma.max'
says ok 'rdma cgroup' '37 objects .*of 100' --regions 10
says warning 'rdma cgroup' '57 objects .*of 100.*not twice' --regions 20
put sys/fs/cgroup/pod/rdma.max 'rdmap79s0 hca_handle=max hca_object=max'
says ok registrations '161 of each rail'
for d in rdmap79s0 rdmap80s0; do put sys/class/infiniband/$d/device/vendor 0x15b3; done
says ok 'queue pairs' '1000 queue pairs of each rail for 1000 peers' --peers 1000
then_says '^ok +descriptors +2064 for connections to 1000 peers .*of 20000'
limit 'Max open files' 1024
says failed descriptors '2064 for connections .*of 1024' --peers 1000

# GPUs: without a driver, with one that lets NICs in by dma-buf, with one that does not.
healthy
says ok gpudirect 'no NVIDIA GPU'
put sys/bus/pci/devices/0000:53:00.0/vendor 0x10de
put sys/bus/pci/devices/0000:53:00.0/class 0x030200
says failed 'nvidia driver' '1 NVIDIA GPU on the PCI bus'
put proc/driver/nvidia/version 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build'
put proc/modules 'nvidia 1 0 - Live 0x0'
says ok 'peer memory' 'dma-buf'
then_says '^warning +gdrcopy' '^warning +gpudirect stor.*'
put proc/driver/nvidia/version 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12'
says warning 'peer memory' 'cannot reach GPU memory'
put sys/class/infiniband/rdmap79s0/device/p2p NVIDIA
says ok 'peer memory' "efa's driver"
mkdir -p "$tree/sys/module/nvidia_peermem" "$tree/sys/module/gdrdrv" "$tree/sys/module/nvidia_fs"
says ok 'peer memory' 'nvidia_peermem'
then_says '^ok +gdrcopy' '^ok +gpudirect stor.*nvidia-fs is loaded'

# An empty folder is a machine of which nothing is known; a file in the way is not read for ever.
tree=$scratch/empty
mkdir -p "$tree/proc/self"
mkfifo "$tree/proc/self/limits" "$tree/proc/meminfo"
says warning 'rdma devices' 'none'

refuses 'no folder' "$doctor" --sys "$scratch/report"
refuses 'no such file' "$doctor" --json /nonexistent/folder/report
refuses 'unknown option' "$doctor" --bad
refuses 'what is' "$doctor" nonsense
refuses '--peers needs' "$doctor" --peers 0
refuses '--efa takes two' "$doctor" --efa
refuses 'secret' env -u WYE_DOCTOR_SECRET "$doctor" --serve
refuses 'ADDRESS:PORT' "$doctor" --serve 127.0.0.1:port --secret s
