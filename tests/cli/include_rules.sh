#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may include whom, read off the sources: include_rules.sh ROOT. The build enforces it with include paths
# (the reach_* tests); this also catches a path that climbs out of its folder.
set -euo pipefail
cd "$1"
status=0

# (samples/perf holds the plain code on liburing that ours is measured against.)
# forbid PATTERN FOLDER...: no source in the folders may have a line of this form.
forbid() {
    local pattern=$1
    shift
    if grep -rnE --include='*.hpp' --include='*.cpp' "$pattern" "$@"; then
        echo "^ forbidden: $pattern"
        status=1
    fi
}

include='^[[:space:]]*#[[:space:]]*include[[:space:]]*'
forbid "${include}[<\"](\.\./|/)" include runtime storage transports samples
forbid "${include}[<\"](runtime|storage|transports|samples)/" include runtime storage transports samples
forbid "${include}[<\"](liburing|linux/io_uring|rdma/|cuda|cufile|aws/)" include runtime \
    samples/*.cpp samples/kv_offload samples/doctor samples/prefill_decode samples/common
forbid "${include}[<\"]openssl/" include runtime/*.[ch]pp runtime/sim runtime/peers/*.hpp runtime/exchange \
    samples/*.cpp samples/kv_offload samples/doctor samples/prefill_decode samples/common
forbid "${include}<boost/asio\.hpp>" include runtime storage transports samples tests
forbid "${include}<wye/(agent|copy|flight|join|pool|prepared|runtime|bucket|wye)\.hpp>" storage transports

# Every source says under which licence it is.
unlicensed=$(find include runtime storage transports samples tests cmake -type f \
    \( -name '*.[ch]pp' -o -name '*.cmake' -o -name CMakeLists.txt -o -name '*.sh' \) \
    -exec grep -L 'SPDX-License-Identifier: Apache-2.0' {} +)
if [ -n "$unlicensed" ]; then
    echo "no SPDX line: $unlicensed"
    status=1
fi
exit $status
