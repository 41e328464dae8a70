#!/bin/sh
# Builds into build/ (or $1) with the release preset's settings. Used by demo.sh and test.sh.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build}
[ -f "$folder/build.ninja" ] || cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release >"/tmp/dppo-cmake.$$" 2>&1 ||
    { cat "/tmp/dppo-cmake.$$"; exit 1; }
rm -f "/tmp/dppo-cmake.$$"
cmake --build "$folder"
