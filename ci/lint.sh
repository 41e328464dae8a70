#!/bin/sh
# Formatting, both compilers' warnings without building, and what must not appear in the sources. Says what it skips.
# shellcheck disable=SC2046,SC2086 # file names of this repository have no spaces: lists of them are split on purpose
set -u
cd "$(dirname "$0")/.." || exit 2
bad=0
c_files=$(git ls-files 'dppo/*.c' 'parity_tests/*.c' 'ci/*.c')
sources=$(git ls-files '*.c' '*.h' '*.cpp')

complain() { # NAME TEXT: nothing when the text is empty
    if [ -n "$2" ]; then printf '%s:\n%s\n' "$1" "$2"; bad=1; fi
}

if command -v clang-format >/dev/null; then
    complain "not as .clang-format has it" "$(clang-format --dry-run $sources 2>&1 | grep 'warning:' | cut -d: -f1 | sort -u)"
else
    echo "skipped: no clang-format"
fi

# As in a build with DPPO_SHIM=OFF; the definitions are the build's business, so any will do.
set -- -std=c17 -D_GNU_SOURCE -fsyntax-only -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow -Wconversion \
    -Wstrict-prototypes -Werror -I. -Idppo '-DDPPO_SOURCE_FIXTURES="f"' '-DDPPO_VERSION="v"' '-DDPPO_COMMAND="c"' \
    '-DFIXTURES="f"' '-DSOURCE_FOLDER="s"' $(pkg-config --cflags hdf5-serial openblas sleef yaml-0.1 libzip)
for compiler in gcc clang; do
    command -v "$compiler" >/dev/null || { echo "skipped: no $compiler"; continue; }
    for file in $c_files; do
        case $file in parity_tests/test_shim*) continue ;; esac
        complain "$compiler $file" "$("$compiler" "$@" "$file" 2>&1 | head -n 5)"
    done
done

if command -v shellcheck >/dev/null; then
    complain "shellcheck" "$(shellcheck -S warning $(git ls-files '*.sh'))"
else
    echo "skipped: no shellcheck"
fi

# Unfinished work, fast mathematics, an end that a user could cause, a second home for the other side's arithmetic.
forbid() { complain "$1" "$(git grep -nE "$2" -- $3)"; }
forbid "unfinished" '\b(TODO|FIXME|XXX)\b' '*.c *.h *.cpp *.txt dppo shim'
forbid "fast mathematics" '(-f|")(fast-math|funsafe-math|associative-math)|-Ofast' '*.txt *.cmake *.json'
forbid "abort() or exit() in the library" '\b(abort|exit|_exit)\(' "dppo/*.c"
forbid "libtorch in dppo/" '#include *[<"](torch|ATen|c10)/' dppo
[ "$bad" -eq 0 ] && echo "lint: nothing found"
exit "$bad"
