#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the build to a fresh prefix and builds and runs a project that has only that:
# consumer.sh BIN ROOT BUILD COMPILER
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source=$2 build=$3 compiler=$4

succeeds cmake --install "$build" --prefix "$scratch/prefix"
succeeds cmake -S "$source/tests/consumer" -B "$scratch/build" -G Ninja -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$scratch/prefix"
succeeds cmake --build "$scratch/build"
succeeds "$scratch/build/consumer" "$scratch/file"

# A version that is not compatible must not be taken for one that is.
sed 's/find_package(wye 0.1 /find_package(wye 0.2 /' "$source/tests/consumer/CMakeLists.txt" > "$scratch/CMakeLists.txt"
cp "$source/tests/consumer/main.cpp" "$scratch/"
if cmake -S "$scratch" -B "$scratch/other" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
    -DCMAKE_PREFIX_PATH="$scratch/prefix" > "$scratch/out" 2>&1; then
    fail "find_package(wye 0.2) takes this version"
fi
