#!/bin/sh
# Opens a report page in headless Chromium: fails on an error or warning in the console, on anything that is fetched
# from outside, and when a main element is missing. Exit status 77 (skipped) without Chromium.
#   ci/check_report.sh FILE.html [ID..]     (IDs of elements that must be there, besides the verdict)
set -eu

[ $# -ge 1 ] || { echo "usage: $0 FILE.html [ID..]" >&2; exit 2; }
file=$1
shift
[ -f "$file" ] || { echo "$file: no such file" >&2; exit 1; }
case $file in /*) ;; *) file=$PWD/$file ;; esac

browser=
for name in chromium chromium-browser google-chrome chrome; do
    if command -v "$name" >/dev/null 2>&1; then browser=$name; break; fi
done
[ -n "$browser" ] || { echo "skipped: no chromium"; exit 77; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0
timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
    --disable-dev-shm-usage --user-data-dir="$folder/profile" --enable-logging=stderr --v=0 \
    --host-resolver-rules='MAP * ~NOTFOUND' --window-size=1400,2400 \
    --dump-dom "file://$file" >"$folder/dom.html" 2>"$folder/log" || status=$?

fail() {
    echo "$file: $1" >&2
    exit 1
}
if [ "$status" -ne 0 ]; then
    tail -5 "$folder/log" >&2
    fail "$browser ended with status $status"
fi
# Chromium prints what a page writes to its console, uncaught errors and refused requests as CONSOLE lines.
if grep -q 'CONSOLE' "$folder/log"; then
    grep 'CONSOLE' "$folder/log" >&2
    fail "the console is not empty"
fi
# The script adds #tip when it ran to its end through the page.
for id in verdict tip "$@"; do
    grep -q "id=\"$id\"" "$folder/dom.html" || fail "no element #$id"
done
grep -q '<h1>[^<]' "$folder/dom.html" || fail "no heading"
# One file: no address but data: and places within the page.
if grep -Eoi '(src|href)="[^"]*"' "$folder/dom.html" | grep -Eqv '"(data:|#)' ||
    grep -Eqi '@import|url\(' "$folder/dom.html"; then fail "refers to something outside"; fi
echo "$file: renders, console empty"
