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
