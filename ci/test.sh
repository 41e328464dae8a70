#!/bin/sh
# Installs what is missing, builds, runs every test. The last line counts them.
set -eu
cd "$(dirname "$0")/.."
ci/setup.sh
ci/build.sh build
mkdir -p build/reports
status=0
ctest --test-dir build -j 2 --output-on-failure --output-junit reports/ctest.xml || status=1

# Every case must have run on both sides: a skipped one is red too.
build/bin/dppo parity run --csv build/reports/parity.csv --junit build/reports/parity.xml \
    --markdown build/reports/parity.md --report build/reports/parity >build/reports/parity.log || status=1
grep -v '^passed' build/reports/parity.log
exit "$status"
