#!/bin/sh
# Installs the Debian packages that the project needs, and nothing else. Quiet when all are there.
set -eu

packages="gcc g++ cmake ninja-build pkg-config libtorch-dev libmujoco-dev libhdf5-dev libopenblas-dev
libcmocka-dev libsleef-dev libyaml-dev libzip-dev zlib1g-dev"
# Continuous integration also looks at the report in a browser; on a laptop that test is skipped without one.
if [ "${CI:-}" = true ]; then packages="$packages chromium"; fi

missing=
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then as_root=sudo; fi
echo "installing:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
