"""What the verbs share: progress bars on stderr, results on stdout and in a file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Self

from napari_dinoad.errors import DinoadError, SettingError
from napari_dinoad.machine.atomic_files import require_writable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dinoad.images.scan_file import SkippedFile
    from napari_dinoad.progress import ProgressEvent

__all__ = ["ProgressBars", "print_json", "print_table", "require_out_file", "skipped_lines"]


_NAMED = 3
"""Files that are skipped for reasons of one kind are named so many times at most."""

_REASONS = 20
"""So many kinds of reasons are told at most: some hold what is in a file."""

_ROWS = 24
"""Of a terminal that does not say how many it has."""


class ProgressBars:
    """A `napari_dinoad.progress.Progress` that draws a bar for each stage when stderr is a terminal."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._stage = ""
        self._bar: Any = None
        self._active = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: ProgressEvent) -> None:
        """Draw the event."""
        if not self._active:
            return
        if event.stage != self._stage or self._bar is None or event.done < self._bar.n:
            from tqdm import tqdm

            self._close()
            self._stage = event.stage
            self._bar = tqdm(
                desc=self._prefix + event.stage,
                total=event.total or None,
                file=sys.stderr,
                **_assumed_shape(),
            )
        if event.done > self._bar.n:
            # Not where an event is told again: tqdm would take what is done next for as quick as the time since.
            self._bar.update(event.done - self._bar.n)
        if event.metrics:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in event.metrics.items()})

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _assumed_shape() -> dict[str, int]:
    """Return columns and rows to draw bars for, where a terminal does not say them, as many without a window.

    tqdm takes its zeros for the shape, and draws nothing.
    """
    try:
        shape = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return {}
    if shape.columns and shape.lines:
        return {}
    columns = shape.columns or shutil.get_terminal_size().columns
    return {"ncols": columns - 1, "nrows": _ROWS}


def require_out_file(path: Path) -> None:
    """Refuse an ``--out`` that could not be written, before the work whose result it is to hold."""
    try:
        require_writable(path)
    except DinoadError as error:
        raise SettingError(f"--out: {error}") from error


def skipped_lines(skipped: Sequence[SkippedFile]) -> list[str]:
    """Return what to tell of files that are skipped: of each kind the first few, and how many there are more."""
    # Loaded here: `dinoad --help` and the verbs without scans go without what reads them.
    from napari_dinoad.images.scan_file import by_kind

    kinds = by_kind(skipped)
    lines = []
    for items in kinds[:_REASONS]:
        named = items if len(items) <= _NAMED + 1 else items[:_NAMED]
        lines += [f"skipped {item.path}: {item.reason}" for item in named]
        if len(items) > len(named):
            lines.append(f"skipped {len(items) - len(named)} more: {items[0].kind}")
    others = kinds[_REASONS:]
    if others:
        lines.append(f"skipped {sum(map(len, others))} more for other reasons; --json lists all.")
    return lines


def print_json(document: Any) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as aligned columns; the first column to the left, the others to the right.

    Characters that are none to be seen are spelled out: names of files may hold line breaks, and what terminals obey.
    """
    rows = [tuple(map(_visible, row)) for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [
            f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _visible(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
