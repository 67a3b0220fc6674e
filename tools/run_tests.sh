#!/bin/sh
# Run all tests with this Python: as many at a time as there are processors, four at most, each with a virtual screen
# of its own. On a real screen one at a time: the windows of two would take the keyboard from each other.
set -eu
python=$1
shift
count=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname -s)" != Linux ] || [ "$count" -lt 2 ]; then
    exec tools/with_screen.sh "$python" -m pytest "$@"
fi
[ "$count" -le 4 ] || count=4
exec "$python" -m pytest --dist worksteal --tx "$count*popen//python=tools/with_screen.sh $python" "$@"
