#!/bin/sh
# test_install.sh BUILD SOURCE: installs into a temporary folder, and there, with nothing of the build or source tree on
# any path, compiles the example of dppo.h through pkg-config and through find_package(dppo), runs both, and uses the
# installed command. 77: skipped.
set -eu
build=$1
source=$2
for tool in cmake pkg-config cc ninja; do
    command -v "$tool" >/dev/null || { echo "skipped: no $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/log" || { cat "$work/log"; exit 1; }
for file in bin/dppo include/dppo/dppo.h share/dppo/fixtures/manifest.csv share/dppo/original/measure.py; do
    [ -f "$prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done
page=$(find "$prefix" -name dppo.1)
grep -q 'dppo parity run' "$page" || { echo "the manual page lacks dppo parity run"; exit 1; }

# The example as the header has it: the lines indented by four within its comment, up to the compiler's line.
cd "$work"
sed -n -e '/^ \*     cc /q' -e 's/^ \*     //p' "$prefix/include/dppo/dppo.h" >policy.c
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name dppo.pc)")
export PKG_CONFIG_PATH
unset DPPO_LOG_DIR DPPO_DATA_DIR # the example needs neither
config=$prefix/share/dppo/fixtures/configs/eval_diffusion_mlp.yaml
sanitize=$(sed -n 's/^DPPO_SANITIZE:[A-Z]*=//p' "$build/CMakeCache.txt")
flags=${sanitize:+-fsanitize=$sanitize}

# shellcheck disable=SC2046,SC2086 # lists of words
cc -std=c17 -Wall -Wextra -Werror -Wno-comment $flags policy.c $(pkg-config --cflags --libs dppo) -o by_pkg_config
./by_pkg_config "$config" base_policy_path=null >first
[ "$(wc -l <first)" -eq 4 ] || { echo "the example printed:"; cat first; exit 1; }
if ./by_pkg_config "$config" base_policy_path=absent.pt 2>error; then echo "an absent checkpoint passed"; exit 1; fi
grep -q absent.pt error

cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.20)
project(policy LANGUAGES C)
find_package(dppo 0.1 REQUIRED)
add_executable(policy policy.c)
target_link_libraries(policy PRIVATE dppo::dppo)
END
cmake -S . -B by_cmake -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_FLAGS="$flags" >log 2>&1 &&
    cmake --build by_cmake >>log 2>&1 || { cat log; exit 1; }
./by_cmake/policy "$config" base_policy_path=null >second
cmp first second

# The command finds the fixtures beside it, and they are the ones of the source tree.
"$prefix/bin/dppo" fixtures manifest --check "$prefix/share/dppo/fixtures"
"$prefix/bin/dppo" parity run -k 'gae/*' | tail -n 1
cmp "$source/fixtures/manifest.csv" "$prefix/share/dppo/fixtures/manifest.csv"
echo "installed, linked both ways, run"
