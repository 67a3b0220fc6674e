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
# The command takes the place of this shell; the screen ends after it, however it ends.
(
    Xvfb -displayfd 3 -screen 0 1600x1000x24 -nolisten tcp 3>"$numbers" &
    screen=$!
    while kill -0 $$; do sleep 1; done
    kill "$screen"
    rm -f "$numbers"
) </dev/null >/dev/null 2>&1 &
tries=0
while [ ! -s "$numbers" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { echo "Xvfb did not start." >&2; exit 1; }
    sleep 0.1
done
export DISPLAY=":$(cat "$numbers")" QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1
exec "$@"
