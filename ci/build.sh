#!/bin/sh
# build.sh [FOLDER [TARGET]]: builds with the release preset's settings, everything or one target. Used by demo.sh and
# test.sh; one progress line on a terminal, a few elsewhere.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build}
[ -f "$folder/build.ninja" ] || cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release >"/tmp/dppo-cmake.$$" 2>&1 ||
    { cat "/tmp/dppo-cmake.$$"; exit 1; }
rm -f "/tmp/dppo-cmake.$$"
log=/tmp/dppo-build.$$
if [ -t 1 ]; then
    cmake --build "$folder" ${2:+--target "$2"}
else
    cmake --build "$folder" ${2:+--target "$2"} >"$log" 2>&1 || { grep -v '^\[' "$log" || cat "$log"; exit 1; }
    grep '^\[' "$log" | tail -n 1
    rm -f "$log"
fi
