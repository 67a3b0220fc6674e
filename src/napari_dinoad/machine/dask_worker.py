"""What each Dask worker that we start does first; Dask imports it there by its name, also in place of a dead one."""

from __future__ import annotations

import signal

__all__ = ["dask_setup"]


def dask_setup(_: object) -> None:
    """Take no notice of Ctrl-C, nor of Ctrl-Break: the process that started the worker ends it.

    A console of Windows sends them to all processes of a command, and no process can be started there with them
    switched off, as `napari_dinoad.machine.interrupts.processes_without_interrupts` does elsewhere.
    """
    for name in ("SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
