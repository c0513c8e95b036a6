# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by samples/run, tests/run and .ci/run: from a clean clone on a bare machine to built programs.
# What it does it says on standard error, so that standard output is the program's own.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# is_newer A B: whether version A is at least version B.
is_newer() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Installed already, wherever from? One question each, answered by effect rather than by package.
have_tool() { command -v "$1" > /dev/null; }
have_compiler() {
    have_tool "${CXX:-g++}" || return 1
    [ -n "${CXX:-}" ] || is_newer "$(g++ -dumpfullversion -dumpversion)" 12
}
have_cmake() { have_tool cmake && is_newer "$(cmake --version | sed -n '1s/[^0-9]*//p')" 3.25; }
have_uring() { have_tool pkg-config && pkg-config --exists 'liburing >= 2.3'; }
have_fabric() { have_tool pkg-config && pkg-config --exists 'libfabric >= 1.17'; }
have_hwloc() { have_tool pkg-config && pkg-config --exists 'hwloc >= 2.0'; }
have_openssl() { have_tool pkg-config && pkg-config --exists 'libcrypto >= 3.0' 'libssl >= 3.0'; }
have_boost() {
    local place
    [ -z "${Boost_ROOT:-}${BOOST_ROOT:-}${CMAKE_PREFIX_PATH:-}" ] || return 0   # theirs to say
    for place in /usr/lib/*/cmake /usr/lib/cmake /usr/lib64/cmake /usr/local/lib/cmake /usr/local/lib/*/cmake; do
        local part found=yes
        for part in boost_headers boost_json boost_unit_test_framework; do
            compgen -G "$place/$part-1.8[1-9]*" > /dev/null || compgen -G "$place/$part-1.9*" > /dev/null || found=
        done
        [ -z "$found" ] || return 0
    done
    return 1
}

# Whether apt could install the package.
apt_offers() { [[ $(LC_ALL=C apt-cache policy "$1" 2> /dev/null) =~ 'Candidate: '[^\(] ]]; }

# The Boost packages that this system has: Debian 12 keeps 1.81 beside an older default, Ubuntu 24.04 has 1.83.
boost_packages() {
    local version
    for version in 1.83 1.81 1.88 1.90; do
        apt_offers "libboost-json$version-dev" || continue
        echo "libboost$version-dev libboost-json$version-dev libboost-test$version-dev"
        return
    done
    return 1
}

# Prints the packages to install, nothing when all is there.
missing_packages() {
    have_compiler || echo g++
    have_cmake || echo cmake
    have_tool ninja || echo ninja-build
    have_tool pkg-config || echo pkg-config
    have_uring || echo liburing-dev
    have_fabric || echo libfabric-dev
    have_hwloc || echo libhwloc-dev
    have_openssl || echo libssl-dev
    have_boost || boost_packages || echo 'libboost1.81-dev libboost-json1.81-dev libboost-test1.81-dev'
}

# Runs a command as root, by sudo if we are not.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; return; fi
    have_tool sudo || die "this needs root and there is no sudo; as root: $*"
    say "asking for root to run: $*"
    sudo "$@"
}

# install_what_is_missing [QUESTION]: by a function that prints packages, and nothing once all is there.
install_what_is_missing() {
    local wanted question=${1:-missing_packages}
    wanted=$("$question" | xargs)
    [ -n "$wanted" ] || return 0
    have_tool apt-get || die "missing: $wanted (Debian's names), and there is no apt-get here to install them with"

    # A bare machine has no package lists yet, and then apt knows none of these.
    local package
    for package in $wanted; do
        apt_offers "$package" && continue
        as_root apt-get update -q >&2 || die "apt-get update failed; still missing: $wanted"
        break
    done
    wanted=$("$question" | xargs)
    say "installing what is missing: $wanted"
    # Never at the price of something that is installed: Debian's Boost versions exclude each other.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove \
        $wanted >&2 || die "apt-get could not install: $wanted"
    wanted=$("$question" | xargs)
    [ -z "$wanted" ] || die "installed, and yet not found or too old: $wanted"
}

# Prints what only some tests need, which skip without it: an object store that checks signatures, and etcd.
missing_servers() {
    if ! /usr/bin/python3 -c 'import eventlet, swift' 2> /dev/null && apt_offers swift-proxy; then
        echo swift-proxy swift-account swift-container swift-object
    fi
    have_tool etcd || ! apt_offers etcd-server || echo etcd-server
    have_tool etcdctl || ! apt_offers etcd-client || echo etcd-client
}

# install_servers: for the gate. Whatever stands in the way, the tests say what they lack. No daemon is started.
install_servers() {
    local wanted
    wanted=$(missing_servers)
    [ -n "$wanted" ] || return 0
    have_tool apt-get || return 0
    say "installing for tests: $wanted"
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends --no-remove \
        $wanted >&2 || say "apt-get could not install: $wanted"
}

# How many compilers at once: a file with coroutines takes up to 1.5 GiB.
jobs() {
    local cores memory cgroup
    cores=$(nproc)
    memory=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
    cgroup=$(cat /sys/fs/cgroup/memory.max 2> /dev/null || echo max)
    if [ "$cgroup" != max ] && [ $((cgroup / 1024)) -lt "$memory" ]; then memory=$((cgroup / 1024)); fi
    local fit=$((memory / (1536 * 1024)))
    if [ "$fit" -lt 1 ]; then fit=1; fi
    echo $((fit < cores ? fit : cores))
}

# build PRESET [TARGET...]: configures if need be, then builds. WYE_CMAKE_ARGS is passed to cmake.
build() {
    local preset=$1 directory=$root/build/$1 log status=0
    shift
    mkdir -p "$directory"
    log=$directory/configure.log
    # A clone that was moved or copied has a cache that names another place.
    local fresh=()
    if [ -f "$directory/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$directory/CMakeCache.txt"; then
        fresh=(--fresh)
    fi
    if [ ! -f "$directory/build.ninja" ] || [ ${#fresh[@]} -gt 0 ] || [ -n "${WYE_CMAKE_ARGS:-}" ]; then
        # shellcheck disable=SC2086
        (cd "$root" && cmake --preset "$preset" "${fresh[@]}" ${WYE_CMAKE_ARGS:-}) > "$log" 2>&1 || status=$?
        if [ $status -ne 0 ]; then cat "$log" >&2; die "cmake could not configure build/$preset"; fi
        sed -n '/^-- wye /,/^-- /{/^-- wye \|^  /p}' "$log" >&2
    fi
    local targets=()
    if [ $# -gt 0 ]; then targets=(--target "$@"); fi
    cmake --build "$directory" --parallel "$(jobs)" "${targets[@]}" >&2 || die "build/$preset does not build"
}
