"""Several scans that were scored together, the least normal first: a page for people and a table for programs."""

from __future__ import annotations

import csv
import heapq
import io
import logging
import re
import time
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from napari_dinoad import html
from napari_dinoad.errors import Cancelled, DinoadError, FileInUseError
from napari_dinoad.machine.atomic_files import telling_of_writing, write_text
from napari_dinoad.machine.file_names import short_stem, stem_of
from napari_dinoad.machine.file_set import written_together
from napari_dinoad.machine.interrupts import interrupts_deferred
from napari_dinoad.maps.export import csv_table
from napari_dinoad.maps.outputs import ENDINGS
from napari_dinoad.maps.pages.worklist_entry import PICTURE_PX, WORKLIST_COLUMNS

if TYPE_CHECKING:
    from napari_dinoad.maps.pages.worklist_entry import WorklistEntry

__all__ = ["KEPT_FOLDER", "WORKLIST_PAGE", "Worklist"]

logger = logging.getLogger(__name__)

WORKLIST_PAGE = "worklist.html"

KEPT_FOLDER = "scored"
"""Where what was found of each scan is kept, in the folder of the results; see `pipeline.detection.kept_scores`."""

_MOST_OTHERS = 100
"""So many scans that are not in the list are named."""

_MOST_PICTURES = 500
"""Scans after these are listed without picture: each has about 20 kB, and browsers must open the page."""

_FOUND_COLUMNS = tuple(name for name in WORKLIST_COLUMNS if name not in ("rank", "report", "notes"))
"""What a scan's row says of what was found."""

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")

_LINE_BREAK = re.compile(r"[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")

_WRITE_AGAIN_S = 10.0
"""While scans come in, the files are written anew no more often than this."""

_STYLE = """\
body { max-width: 80rem; } td { padding-top: .4rem; } td figure { margin: 0; } td figcaption { display: none; }
td img { display: block; background: #000; max-width: none; height: auto; }
strong { display: block; min-width: 11rem; overflow-wrap: anywhere; }
@media print { td img { width: 30mm; } }
"""


class Worklist:
    """``worklist.html`` and ``worklist.csv`` in a folder, which grow with the scans; of several scans only.

    A context manager: at its end, also by an error or a signal, the files hold all scans so far. A `DinoadError` that
    ends it (of a full disk, for instance) is told with how many scans are done. Files of an earlier run that say of a
    scan what is no longer so are called ``worklist_outdated`` until there is a new list. A file that another program
    has open (a spreadsheet, on Windows) ends nothing: it is warned of at the end, and in ``not_renewed``.

    Parameters
    ----------
    folder : Path
        That of the scans' results.
    model : str
        What the model is called.
    fpr : float
        Rate at which masks are drawn.
    """

    def __init__(self, folder: Path, model: str, fpr: float) -> None:
        self.page = folder / WORKLIST_PAGE
        self.table = folder / "worklist.csv"
        self._model = model
        self._fpr = fpr
        self._entries: list[WorklistEntry] = []
        # A heap of orders and places in the list, both negative: the most normal scan is on top.
        self._with_picture: list[tuple[tuple[float, ...], int]] = []
        self._failed: list[tuple[str, str, str]] = []
        self._written_at = float("-inf")
        self._is_outdated = False
        self.not_renewed: list[str] = []
        """Names of the files that were open in another program when they were last to be written or renamed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        unwritten = None
        if self._is_outdated:
            logger.warning(
                "The worklist in the folder of the results says of this scan what an earlier run found. It is called "
                "%s now; score its scans again for a new one.",
                _outdated(self.page).name,
            )
        if self.is_due:
            try:
                # A signal that comes when all is scored must not leave the last scans out.
                with interrupts_deferred():
                    self.write()
            except DinoadError as refused:
                # What ended the scoring is told, not that the worklist met the same full disk afterwards.
                logger.info("%s", refused)
                unwritten = refused
        if self.not_renewed:
            logger.warning("%s", self._told_not_renewed())
        fault = error or unwritten
        if isinstance(fault, DinoadError) and not isinstance(fault, Cancelled) and self._entries:
            fault.args = (f"{fault} {self._what_is_done(is_listed=unwritten is None)}",)
        if error is None and unwritten is not None:
            raise unwritten

    def _told_not_renewed(self) -> str:
        files = " and ".join(self.not_renewed)
        it, says = ("it", "It says") if len(self.not_renewed) == 1 else ("them", "They say")
        again = (
            "score again: what was scored is taken over, and the list is written"
            if self.is_due
            else "score its scans again for a new one"
        )
        return (
            f"{files} in the folder of the results could not be renewed: another program has {it} open. {says} what "
            f"was found before. Close {it} there, and {again}."
        )

    def _what_is_done(self, *, is_listed: bool) -> str:
        """Return what a fault leaves behind, for people."""
        n = len(self._entries)
        done = f"{n} scan is done and keeps its" if n == 1 else f"{n} scans are done and keep their"
        listed = "" if is_listed else " The worklist is as it was last written."
        return f"{done} results.{listed} Scoring again goes on with those that are left."

    @property
    def is_due(self) -> bool:
        """Whether there are several scans to list."""
        return len(self._entries) + len(self._failed) > 1

    def add(self, entry: WorklistEntry) -> None:
        """Take in a scan; the files follow now and then."""
        self._entries.append(entry)
        self._drop_a_picture()
        self._write_now_and_then()
        if not self.is_due and self._says_otherwise(entry):
            for path in (self.page, self.table):
                self._call_outdated(path)

    def _call_outdated(self, path: Path) -> None:
        try:
            # Of many jobs that score a scan each, another may be the first.
            with telling_of_writing(path), suppress(FileNotFoundError):
                path.replace(_outdated(path))
        except FileInUseError:
            self.not_renewed.append(path.name)
        else:
            self._is_outdated = True

    def _says_otherwise(self, entry: WorklistEntry) -> bool:
        """Whether the table of an earlier run lists a scan with something else than what was found now."""
        try:
            listed = _rows_of(self.table.read_text(encoding="utf-8"))
        except (OSError, ValueError, csv.Error):
            return False
        (now,) = _rows_of(_table([entry]))
        before = next((row for row in listed if row.get("results") == now["results"]), None)
        if before is None or tuple(before) != WORKLIST_COLUMNS:
            return False
        return any(before[name] != now[name] for name in _FOUND_COLUMNS)

    def _drop_a_picture(self) -> None:
        """Keep the pictures of the least normal scans only: more of them would be shown nowhere."""
        place = len(self._entries) - 1
        least_first = tuple(-value for value in self._entries[place].order)
        heapq.heappush(self._with_picture, (least_first, -place))
        if len(self._with_picture) > _MOST_PICTURES:
            _, dropped = heapq.heappop(self._with_picture)
            self._entries[-dropped] = replace(self._entries[-dropped], picture=b"")

    def add_failed(self, scan: str, reason: str, name: str = "") -> None:
        """Take in a scan that cannot be used, by its name, and by that of its outputs, where this is another."""
        self._failed.append((scan, reason, name or short_stem(stem_of(Path(scan)))))
        self._write_now_and_then()

    def _write_now_and_then(self) -> None:
        if self.is_due and time.monotonic() - self._written_at >= _WRITE_AGAIN_S:
            self.write()

    def write(self) -> None:
        """Write both files, atomically; where another program has one open, the other."""
        entries = sorted(self._entries, key=lambda entry: entry.order)
        texts = {self.table: _table(entries), self.page: self._page(entries)}
        try:
            with written_together():
                for path, text in texts.items():
                    write_text(path, text)
            self.not_renewed = []
        except FileInUseError:
            self.not_renewed = [path.name for path, text in texts.items() if not _is_renewed(path, text)]
        self._written_at = time.monotonic()
        self._is_outdated = False
        for path in (self.page, self.table):
            with suppress(OSError):
                _outdated(path).unlink(missing_ok=True)

    def _page(self, entries: list[WorklistEntry]) -> str:
        n = len(entries)
        parts = [
            html.section(
                f"{n} scan{'' if n == 1 else 's'}, the least normal first",
                f"Scored with the model {self._model}. Marked: what is as unusual as {100 * self._fpr:g} % of normal "
                "voxels; some of every normal scan is. Scans of one p-value are ordered by their own scores."
                + (f" The first {_MOST_PICTURES} have pictures." if n > _MOST_PICTURES else ""),
                html.table(
                    ["", "Scan", "As a whole", "Marked", "Most unusual", "Slice with its peak"],
                    [_row(rank, entry) for rank, entry in enumerate(entries, start=1)],
                ),
            )
        ]
        done = {str(entry.findings["results"]) for entry in entries}
        if self._failed:
            rows = [
                [
                    html.element("strong", scan),
                    reason if name in done else self._with_what_is_there(reason, name),
                ]
                for scan, reason, name in self._failed
            ]
            parts.append(html.section("Not scored", html.table(["Scan", "Reason"], rows)))
        others = self._others(done | {name for _, _, name in self._failed})
        if others:
            told = f"Results of scans that are not in this list: {others}."
            parts.append(html.section("Also here", told))
        return html.page("Worklist", *parts, style=_STYLE)

    def _with_what_is_there(self, reason: str, name: str) -> str:
        """Return why a scan was not scored, and that results of it are there all the same."""
        if not self._has_results(name):
            return reason
        return f"{reason.rstrip('.')}. What is named {name}_… here is of an earlier run."

    def _has_results(self, name: str) -> bool:
        folder = self.page.parent
        return any((folder / f"{name}{end}").exists() for ends in ENDINGS.values() for end in ends)

    def _others(self, known: set[str]) -> str:
        """Return the names of other scans that were scored into the folder."""
        kept = (path.stem for path in (self.page.parent / KEPT_FOLDER).glob("*.json"))
        there = filter(self._has_results, sorted(set(kept) - known))
        # Not all are looked for: on a network disk that takes a while.
        names = list(islice(there, _MOST_OTHERS + 1))
        return ", ".join([*names[:_MOST_OTHERS], *(["and more"] if len(names) > _MOST_OTHERS else [])])


def _row(rank: int, entry: WorklistEntry) -> list[object]:
    columns = entry.findings
    scan, results, report, notes = (str(columns[name]) for name in ("scan", "results", "report", "notes"))
    # Scans of one folder share its name; those of their results differ.
    shown = scan if scan.startswith(results) else f"{scan} ({results})"
    link = {"href": quote(report, errors="surrogateescape")} if report else {}
    told = html.element("p", html.element("small", notes)) if notes else ""
    cell = html.element("div", html.element("strong", html.element("a", shown, **link)), told)
    shown_slice = html.picture(entry.picture, scan, PICTURE_PX) if entry.picture else ""
    return [rank, cell, entry.whole, entry.marked, entry.peak, shown_slice]


def _table(entries: list[WorklistEntry]) -> str:
    rows = (
        {**{name: _as_text(value) for name, value in entry.findings.items()}, "rank": rank}
        for rank, entry in enumerate(entries, start=1)
    )
    return csv_table(WORKLIST_COLUMNS, rows)


def _rows_of(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table, newline="")))


def _is_renewed(path: Path, text: str) -> bool:
    """Write a file; return False where another program has it open."""
    try:
        write_text(path, text)
    except FileInUseError:
        return False
    return True


def _outdated(path: Path) -> Path:
    return path.with_stem(f"{path.stem}_outdated")


def _as_text(value: object) -> object:
    """Return a table's entry with an apostrophe before a text that spreadsheets would run as a formula, on one line.

    Names of files may come from anywhere; numbers stay as they are. Breaks of lines are spelled out: csv
    does not put a lone carriage return into quotes, and it would end the row.
    """
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(_FORMULA_SIGNS) else value
    return _LINE_BREAK.sub(lambda found: repr(found[0])[1:-1], text)
