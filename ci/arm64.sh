#!/bin/sh
# arm64.sh [FOLDER]: builds the C side for arm64 on any Debian machine, and runs what tests fit an emulator.
# Debian's arm64 libraries are downloaded and unpacked below FOLDER (build/arm64); nothing is installed but the cross
# compiler and the emulator, where they are missing. Needs a network; about 250 MB, a few minutes on two cores.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "${1:-build/arm64}"
folder=$(cd "${1:-build/arm64}" && pwd)
root=$folder/root

missing=
command -v aarch64-linux-gnu-gcc >/dev/null || missing="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
command -v qemu-aarch64-static >/dev/null || missing="$missing qemu-user-static"
if [ -n "$missing" ]; then
    as_root=
    if [ "$(id -u)" -ne 0 ]; then as_root=sudo; fi
    echo "installing: $missing"
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# A package manager of its own, with nothing installed, so that it finds all that these depend on.
arm_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Debug::NoLocking=1 \
        -o Dir::State="$folder/apt" -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt" "$@"
}
if [ ! -f "$folder/unpacked" ]; then
    rm -rf "$root" "$folder/build"
    mkdir -p "$root" "$folder/apt/lists/partial" "$folder/apt/archives/partial"
    : >"$folder/apt/status"
    arm_apt update
    arm_apt install -y --download-only --no-install-recommends libc6-dev libmujoco-dev libgl-dev libopengl-dev \
        libhdf5-dev libopenblas-dev libcmocka-dev libsleef-dev libyaml-dev libzip-dev zlib1g-dev >"$folder/apt.log"
    for package in "$folder"/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    touch "$folder/unpacked"
fi

libraries=$root/usr/lib/aarch64-linux-gnu
PKG_CONFIG_SYSROOT_DIR=$root
PKG_CONFIG_LIBDIR=$libraries/pkgconfig:$libraries/openblas-pthread/pkgconfig:$root/usr/share/pkgconfig
export PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR
[ -f "$folder/build/build.ninja" ] || cmake -S . -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDPPO_SHIM=OFF \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc \
    -DCMAKE_SYSROOT="$root" -DCMAKE_LIBRARY_ARCHITECTURE=aarch64-linux-gnu -DCMAKE_FIND_ROOT_PATH_MODE_PROGRAM=NEVER \
    -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY \
    -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY \
    -DCMAKE_EXE_LINKER_FLAGS="-Wl,-rpath-link,$libraries:$libraries/openblas-pthread:/lib/aarch64-linux-gnu" \
    >"$folder/cmake.log" 2>&1 || { cat "$folder/cmake.log"; exit 1; }
ci/build.sh "$folder/build"

# Unpacked libraries have no link in place for OpenBLAS, which Debian makes on installing. test_envs is left out: the
# recorded rollouts are those of MuJoCo for x86-64, and Debian's for arm64 contains fused multiply-adds, which round
# differently.
LD=$libraries:$libraries/openblas-pthread
status=0
for name in ${DPPO_ARM64_TESTS:-test_config test_generator test_kernels test_autograd test_vector}; do
    if qemu-aarch64-static -L "$root" -E LD_LIBRARY_PATH="$LD" "$folder/build/bin/$name" >"$folder/$name.log" 2>&1; then
        echo "passed  $name"
    else
        echo "failed  $name: $folder/$name.log"
        status=1
    fi
done
exit "$status"
