#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Which rails are near which GPU, of machines that hwloc has saved: doctor_topology.sh BIN SOURCE. They are where
# WYE_TOPOLOGIES says, or in ../shared/data/topology beside the checkout.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
doctor=$bin/doctor

# What is none of these is said, and the file named.
printf 'no xml' > "$scratch/none.xml"
printf '<?xml version="1.0"?><a/>' > "$scratch/other.xml"
: > "$scratch/empty.xml"
refuses '(/missing.xml.*no such file|without hwloc)' "$doctor" --topology "$scratch/missing.xml"
grep -q 'without hwloc' "$scratch/err" && skip "wye was built without hwloc"
refuses 'no such file' "$doctor" --topology "$scratch"
for none in none other empty; do refuses "/$none.xml is no topology" "$doctor" --topology "$scratch/$none.xml" --json -; done
refuses 'no such file' "$doctor" --topology "$scratch/none.xml" --json /nonexistent/folder/map
refuses 'no --peer' "$doctor" --topology "$scratch/none.xml" --peer 127.0.0.1:1 --secret s

folder=${WYE_TOPOLOGIES:-$2/../shared/data/topology}
[ -d "$folder" ] || skip "no saved topologies: WYE_TOPOLOGIES is not set, and there is no $folder"

# map MACHINE GPUS RAILS: reads it into $scratch/map, as text, and checks the document.
map() {
    succeeds "$doctor" --topology "$folder/$1.xml"
    mv "$scratch/out" "$scratch/map"
    succeeds "$doctor" --topology "$folder/$1.xml" --json -
    mv "$scratch/out" "$scratch/json"
    claims "$scratch/json" gpus[].pci:string gpus[].numa:number gpus[].rails:array gpus[].rails[]:string rails[].name:string \
        rails[].pci:string rails[].numa:number rails[].gbps:number
    local gpus rails
    gpus=$(grep -c '^gpu ' "$scratch/map")
    rails=$(grep -c '^rail ' "$scratch/map")
    [ "$gpus $rails" = "$2 $3" ] || { cat "$scratch/map"; fail "$1 has $gpus GPUs and $rails rails, not $2 and $3"; }
    [ "$(grep -o '"rails":\[' "$scratch/json" | wc -l)" = $((gpus + 1)) ] || fail "the document has another number of GPUs"
    succeeds "$doctor" --topology "$folder/$1.xml" --json "$scratch/file"
    cmp -s "$scratch/file" "$scratch/json" || fail "--json FILE is not --json -"
}
# near N: each GPU has so many; how often each rail is used goes to $scratch/used.
near() {
    awk -v n="$1" '$1 == "gpu" && NF != 5 + n { bad = 1 } END { exit bad }' "$scratch/map" || { cat "$scratch/map"; fail "not $1 rails near each GPU"; }
    awk '$1 == "gpu" { for (i = 6; i <= NF; ++i) print $i }' "$scratch/map" | sort | uniq -c | awk '{ print $1 }' | sort -u > "$scratch/used"
}
uses() { [ "$(cat "$scratch/used")" = "$1" ] || { cat "$scratch/map"; fail "a rail is near $(tr '\n' ' ' < "$scratch/used") GPUs, not $1"; }; }

map p5.48xl 8 32
near 4
uses 1
# Behind one switch buses have numbers that follow one another: four rails, then their GPU.
awk '$1 == "gpu" { split($2, part, ":"); print "0x" part[2], $6, $7, $8, $9 }' "$scratch/map" | while read -r bus rails; do
    want=
    for back in 4 3 2 1; do want="$want rdmap$((bus - back))s0"; done
    [ " $rails" = "$want" ] || fail "near the GPU on bus $bus:$want, not $rails"
done

map p4d.24xl 8 4
near 1
uses 2
awk '$1 == "gpu" { split($2, part, ":"); print "0x" part[2], $6 }' "$scratch/map" | while read -r bus rail; do
    [ "$rail" = "rdmap$((bus))s27" ] || fail "near the GPU on bus $bus: rdmap$((bus))s27, not $rail"
done

map g6.48xl 8 1
near 1
uses 8
