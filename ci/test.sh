#!/bin/sh
# Installs what is missing, builds, runs every test. The last line counts them.
set -eu
cd "$(dirname "$0")/.."
ci/setup.sh
ci/build.sh build
mkdir -p build/reports
status=0
ctest --test-dir build --output-on-failure --output-junit reports/ctest.xml || status=$?
build/bin/dppo parity run --csv build/reports/parity.csv --junit build/reports/parity.xml \
    --markdown build/reports/parity.md --report build/reports/parity || status=$?
exit "$status"
