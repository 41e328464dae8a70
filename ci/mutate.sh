#!/bin/sh
# Breaks the C side on purpose, one line at a time in a temporary copy, and shows that `dppo parity run` turns red for
# each. Needs neither libtorch nor a C++ compiler: the recorded answers suffice. Exit status 1 when a mutant survives.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$work"
launcher=
if command -v ccache >/dev/null; then launcher=-DCMAKE_C_COMPILER_LAUNCHER=ccache; fi
# shellcheck disable=SC2086 # nothing, or one word
cmake -S "$work" -B "$work/build" -G Ninja -DDPPO_SHIM=OFF -DDPPO_TESTS=OFF $launcher >"$work/log"
DPPO_FIXTURES=$work/fixtures
export DPPO_FIXTURES

build() { cmake --build "$work/build" --target dppo >"$work/log" 2>&1 || { cat "$work/log"; exit 2; }; }
# Prints the number of failed cases: of the last line, "N passed, N failed, N skipped".
failed() { "$work/build/bin/dppo" parity run 2>/dev/null | sed -n '$s/.* \([0-9]*\) failed.*/\1/p'; }

build
[ "$(failed)" = 0 ] || { echo "cases fail before anything is broken"; exit 2; }
printf '%-44s %-32s %s\n' mutation file verdict
survivors=0

# mutate NAME FILE FROM TO: the first line with the text FROM has TO instead.
mutate() {
    cp "$work/$3" "$work/before"
    awk -v from="$4" -v to="$5" '!done && (at = index($0, from)) {
        $0 = substr($0, 1, at - 1) to substr($0, at + length(from)); done = 1 } { print }' "$work/before" >"$work/$3"
    if cmp -s "$work/before" "$work/$3"; then echo "$1: \"$4\" is not in $3"; exit 2; fi
    build
    count=$(failed)
    if [ "${count:-0}" -gt 0 ]; then verdict="killed, $count cases fail"; else verdict=SURVIVED; survivors=1; fi
    printf '%-44s %-32s %s\n' "$2" "$3" "$verdict"
    cp "$work/before" "$work/$3"
}

mutate 1 "a sign in a backward (sub)" dppo/autograd/pointwise.c \
    'of_operand(cx, node, 1, dppo_neg(cx, g))' 'of_operand(cx, node, 1, g)'
mutate 2 "no epsilon (advantage normalisation)" dppo/models/ppo.c '1e-8' '0'
mutate 3 "an index (value of the next step)" dppo/algorithms/advantages.c 'values[at + n_envs]' 'values[at]'
mutate 4 "a clamp bound (PPO ratio from below)" dppo/diffusion/ppo_diffusion.c \
    'dppo_rsub_scalar(cx, b->clip_coef, 1), *high' 'dppo_rsub_scalar(cx, b->clip_coef, 2), *high'
mutate 5 "no scale (discount over denoising steps)" dppo/diffusion/ppo_diffusion.c \
    'powf((float)model->gamma_denoising, (float)steps)' '1.0f + 0 * (float)steps'
exit "$survivors"
