#!/bin/sh
# Runs every fuzz target for SECONDS (default 60): ci/fuzz/run.sh [SECONDS [BUILD_FOLDER [TARGET..]]]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-60}
build=${2:-$root/build-fuzz}
[ $# -gt 2 ] && shift 2 || set -- yaml json eval pt npz hdf5
CC=clang cmake -S "$root" -B "$build" -G Ninja -DDPPO_FUZZ=ON -DDPPO_SHIM=OFF -DDPPO_TESTS=OFF >"$build.log"
targets=fuzz_seeds
for target; do targets="$targets fuzz_$target"; done
# shellcheck disable=SC2086
ninja -C "$build" $targets
"$build/bin/fuzz_seeds" "$build/seeds"
for target; do
  mkdir -p "$build/corpus/$target"
  echo "== $target, $seconds s"
  "$build/bin/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=65536 -verbosity=0 \
    -print_final_stats=1 -artifact_prefix="$build/$target-" "$build/corpus/$target" "$build/seeds/$target"
done
