"""How long a test waits for what must come before it gives up.

Nothing takes so long where all is well: the tests also run on machines that are slow, or busy with other work.
"""

from __future__ import annotations

import time

PATIENCE_S = 300
TIMEOUT_MS = 1000 * PATIENCE_S


def wait_until(has_come, poll_s=0.01):
    """Wait until a condition holds; raise `TimeoutError` where it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not has_come():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {PATIENCE_S} s in vain.")
        time.sleep(poll_s)


def at_rest(qtbot, state, rounds=30):
    """Let Qt work until what a call returns is the same for so many rounds of its event loop; return that.

    A wait of a fixed time may be over before the timers and the pictures that it is for: a busy machine stops a
    process for longer.
    """
    seen = []

    def is_at_rest():
        seen.append(state())
        return len(seen) >= rounds and all(one == seen[-1] for one in seen[-rounds:])

    qtbot.waitUntil(is_at_rest, timeout=TIMEOUT_MS)
    return seen[-1]
