"""What a process writes to: a terminal, a file or a pipe, that may be missing, full, or go away meanwhile."""

from __future__ import annotations

import io
import os
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OutputError", "discard_output", "prepare_streams"]


_COMMANDS = {
    ord(c): f"\\x{ord(c):02x}" for c in map(chr, (*range(32), *range(127, 160))) if c not in "\t\n\r"
} | {number: f"\\u{number:04x}" for number in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""What terminals take for commands (of colours, titles, the direction of text), and what is shown in its place."""


class _GoingAway(io.TextIOWrapper):
    """A terminal or a pipe whose other end may be closed while a run goes on; what is written then is dropped.

    So are messages that no disk takes.
    Names of files may come from anywhere: a terminal shows what it would do as a command.
    """

    def write(self, text: str, /) -> int:
        """Write text, or drop it."""
        try:
            return super().write(text.translate(_COMMANDS) if self.isatty() else text)
        except OSError:
            _lead_nowhere(self.fileno())
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        try:
            super().flush()
        except OSError:
            _lead_nowhere(self.fileno())


class OutputError(OSError):
    """What we print cannot go out: the disk that it is led to is full, or fails."""


class _OnDisk(io.TextIOWrapper):
    """A file or a device that output is led to; where it fails, that is told apart from any other disk's failing."""

    def write(self, text: str, /) -> int:
        """Write text."""
        with _of_output():
            return super().write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with _of_output():
            super().flush()


@contextmanager
def _of_output() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from error


def prepare_streams() -> None:
    """Make sure that there is something to write to, and that neither a name nor who stops reading ends a run."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by whoever started us (``2>&-``), or a program without a terminal (pythonw).
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace"))
        elif isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show must not end a run.
            stream.reconfigure(errors="backslashreplace")
            kind = _kind_of(stream)
            if kind is _OnDisk and name == "stderr":
                # Nobody could be told; the exit code tells.
                kind = _GoingAway
            if kind is not None and not isinstance(stream, kind):
                is_original = getattr(sys, f"__{name}__") is stream
                encoding, write_through = stream.encoding, stream.write_through
                line_buffering = stream.isatty() or stream.line_buffering
                ours = kind(
                    stream.detach(), encoding, "backslashreplace", None, line_buffering, write_through
                )
                setattr(sys, name, ours)
                if is_original:
                    # It has nothing to write to any more.
                    setattr(sys, f"__{name}__", ours)


def _kind_of(stream: io.TextIOWrapper) -> type[_GoingAway | _OnDisk] | None:
    """Return what a stream becomes: by whether somebody is at the other end (of a terminal, a pipe or a socket).

    None of one that only looks like a stream of the system, or is another program's own (pytest's).
    """
    if stream.isatty():
        return _GoingAway
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except OSError:
        return None
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return _GoingAway
    return _OnDisk if type(stream) is io.TextIOWrapper else None


def discard_output() -> None:
    """Lead what is still to come on stdout nowhere."""
    _lead_nowhere(sys.stdout.fileno())


def _lead_nowhere(handle: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, handle)
    with suppress(OSError):
        os.close(nowhere)
