#!/bin/sh
# Run a command with a screen: the one that is there, or a virtual one of our own that ends with the command.
set -eu
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname -s)" != Linux ]; then
    exec "$@"
fi
if ! command -v Xvfb >/dev/null 2>&1; then
    echo "No screen and no Xvfb: install xvfb (tools/system_packages.sh says what else)." >&2
    exit 1
fi
numbers=$(mktemp)
trap 'kill "$screen" 2>/dev/null || true; rm -f "$numbers"' EXIT INT TERM
Xvfb -displayfd 3 -screen 0 1600x1000x24 -nolisten tcp 3>"$numbers" 2>/dev/null &
screen=$!
tries=0
while [ ! -s "$numbers" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "Xvfb did not start." >&2; exit 1; }
    sleep 0.1
done
DISPLAY=":$(cat "$numbers")" QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1 "$@"
