"""What a folder holds, and how a fit ended: text and lists."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, QUrl
from qtpy.QtGui import QDesktopServices, QImage, QPixmap
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dinoad.gui.parts.folding import Folded
from napari_dinoad.gui.parts.parts import NoteLabel, without_options
from napari_dinoad.gui.work.remaining_time import duration_in_words
from napari_dinoad.images.persons import of_persons
from napari_dinoad.images.series_choice import NOT_CHOSEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_dinoad.gui.fit.samples_of_folder import ScanSample
    from napari_dinoad.gui.work.jobs import FitOutcome
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.scan_file import ScanFile, SkippedFile

__all__ = ["CohortView", "discovery_in_words", "outcome_in_words"]

MAX_ROWS = 500

_MAX_LIST_PX = 140
_LIST_MARGIN_PX = 6

MIN_SCANS = 2
"""One scan to fit on, one to calibrate with."""


def discovery_in_words(discovery: Discovery) -> str:
    """Return how many scans a folder holds, of which sizes, and of how many persons where some have several."""
    if not discovery.scans:
        return _nothing_in_words(discovery)
    parts = []
    for kind, title in (("volume", "volume"), ("image", "2D image")):
        scans = [scan for scan in discovery.scans if scan.kind == kind]
        if scans:
            plural = "" if len(scans) == 1 else "s"
            parts.append(f"{len(scans)} {title}{plural}, {_sizes(scans)}{_spacings(scans)}")
    return f"Found {'; '.join(parts)}. {_persons_in_words(discovery)}".rstrip()


def _nothing_in_words(discovery: Discovery) -> str:
    """Return why a folder holds no scan that can be used."""
    if any(item.kind == NOT_CHOSEN for item in discovery.skipped):
        return "No scan of this series was found in this folder. A part of a name is meant by *part*."
    unusable = [item.reason for item in discovery.skipped if item.is_scan]
    if unusable:
        return f"No scan in this folder can be used. The first: {without_options(unusable[0])}"
    return "No scan was found in this folder."


def _persons_in_words(discovery: Discovery) -> str:
    persons, n_scans = discovery.persons, len(discovery.scans)
    if persons is None or persons.note:
        return "" if persons is None else persons.note
    of = of_persons(n_scans, persons.n)
    return f"{n_scans} scans{of}: those of a person are held out together." if of else ""


def _sizes(scans: Sequence[ScanFile]) -> str:
    sizes = Counter(scan.shape for scan in scans)
    (shape, n_alike), *_ = sizes.most_common(1)
    commonest = " × ".join(map(str, shape))
    if len(sizes) == 1:
        return f"all {commonest}"
    return f"{len(sizes)} sizes ({'most often' if n_alike > 1 else 'one is'} {commonest})"


def _spacings(scans: Sequence[ScanFile]) -> str:
    """Return the voxel sizes, across and between slices apart: that is where scans differ."""
    kinds = Counter(
        (f"{min(scan.spacing_mm):.2g}", f"{max(scan.spacing_mm):.2g}") for scan in scans if scan.spacing_mm
    )
    if not kinds:
        return ""

    def words(finest: str, coarsest: str) -> str:
        return f"{finest} mm" if finest == coarsest else f"{finest} to {coarsest} mm"

    listed = "; ".join(
        words(*kind) + (f" ({n}×)" if len(kinds) > 1 else "") for kind, n in kinds.most_common(3)
    )
    n_more = len(kinds) - 3
    more = f"; {n_more} other size{'s' if n_more > 1 else ''}" if n_more > 0 else ""
    return f", voxels of {listed}{more}"


def outcome_in_words(outcome: FitOutcome) -> str:
    """Return what a finished fit has made."""
    of = of_persons(outcome.n_scans, outcome.n_persons)
    return (
        f"Done in {duration_in_words(outcome.seconds)}: {outcome.n_scans} scans{of}, {outcome.n_slices} slices, "
        f"{len(outcome.skipped)} skipped. Saved as {outcome.path.name}."
    )


class _Thumbnails(QWidget):
    """Pictures of some scans side by side."""

    def __init__(self) -> None:
        super().__init__()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 2, 0, 2)
        self._row.setSpacing(4)
        self._row.addStretch(1)
        self.labels: list[QLabel] = []
        self.hide()

    def minimumSizeHint(self) -> QSize:
        """Let the last pictures be cut off rather than all that stands beside them in a narrow dock."""
        return QSize(0, super().minimumSizeHint().height())

    def show_samples(self, samples: Sequence[ScanSample]) -> None:
        """Show samples; those that are shown already stay."""
        for label in self.labels[len(samples) :]:
            self._row.removeWidget(label)
            label.deleteLater()
        del self.labels[len(samples) :]
        for sample in samples[len(self.labels) :]:
            rows, columns, *channels = sample.picture.shape
            kind = QImage.Format.Format_RGB888 if channels else QImage.Format.Format_Grayscale8
            image = QImage(sample.picture.data, columns, rows, sample.picture.strides[0], kind)
            label = QLabel()
            label.setPixmap(QPixmap.fromImage(image))
            label.setToolTip(f"{sample.name}: {sample.words}")
            self.labels.append(label)
            self._row.insertWidget(self._row.count() - 1, label)
        self.setVisible(bool(samples))


class CohortView(QWidget):
    """A line of text with two lists that can be opened: files skipped, and scans to review."""

    def __init__(self) -> None:
        super().__init__()
        self.text = NoteLabel()
        self.notes = NoteLabel()
        self.thumbnails = _Thumbnails()
        self.skipped = _FoldedList(("File", "Why it is not used"))
        self.review = _FoldedList(("Normal scan", "What stands out"))
        self.page_button = QPushButton("Open the cohort report")
        self.page_button.setToolTip(
            "Scans used and skipped, outliers, curves and calibration, in your browser."
        )
        self.page_button.hide()
        self.page_button.clicked.connect(self._open_page)
        self._page: Path | None = None
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        for widget in (self.text, self.notes, self.thumbnails, self.skipped, self.review, self.page_button):
            rows.addWidget(widget)

    def show_nothing(self, text: str = "", *, error: bool = False) -> None:
        """Show a text alone."""
        self.text.tell(text, error=error)
        self.notes.tell("")
        self.thumbnails.show_samples(())
        self.page_button.hide()
        self.skipped.show_rows("", ())
        self.review.show_rows("", ())

    def show_discovery(self, discovery: Discovery) -> None:
        """Show what a folder holds."""
        text = discovery_in_words(discovery)
        too_few = len(discovery.scans) < MIN_SCANS
        if too_few:
            text += f" At least {MIN_SCANS} are needed, and tens make better probabilities."
        is_mixed = len({scan.kind for scan in discovery.scans}) > 1
        if is_mixed:
            text += " What is usual differs between volumes and single images: fit a model of each kind."
        is_asked = discovery.persons is not None and bool(discovery.persons.note)
        self.text.tell(text, error=too_few, warning=is_mixed or is_asked)
        self.notes.tell("")
        self._show_skipped(discovery.skipped, discovery.folder)
        self.review.show_rows("", ())

    def show_outcome(self, outcome: FitOutcome, *, is_earlier: bool = False) -> None:
        """Show how a fit ended, or one before what is to be fitted now."""
        self.text.tell(f"{'Of the fit before: ' if is_earlier else ''}{outcome_in_words(outcome)}")
        self.notes.tell("\n".join(outcome.notes), warning=True)
        self._page = outcome.page
        self.page_button.setVisible(outcome.page is not None)
        self._show_skipped(outcome.skipped, None)
        rows = [(scan.name, scan.stands_out or "nothing by itself") for scan in outcome.least_normal]
        self.review.show_rows(f"Least normal of the normal scans ({len(rows)}), for review", rows)

    def _open_page(self) -> None:
        if self._page is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._page)))

    def _show_skipped(self, skipped: Sequence[SkippedFile], folder: Path | None) -> None:
        rows = []
        for item in skipped:
            inside = folder is not None and item.path.is_relative_to(folder)
            name = str(item.path.relative_to(folder)) if folder and inside else item.path.name
            rows.append((name, without_options(item.reason)))
        self.skipped.show_rows(f"Skipped ({len(rows)})" if rows else "", rows)


class _FoldedList(Folded):
    """A list that is folded until it is asked for; hidden while it is empty."""

    def __init__(self, columns: tuple[str, str]) -> None:
        super().__init__("")
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(columns)
        self.tree.setRootIsDecorated(False)
        self.addWidget(self.tree)
        self.hide()

    def show_rows(self, title: str, rows: Iterable[tuple[str, str]]) -> None:
        self.setText(title)
        self.tree.setAccessibleName(title)
        self.tree.clear()
        for first, second in list(rows)[:MAX_ROWS]:
            item = QTreeWidgetItem([first, second])
            item.setToolTip(0, first)
            item.setToolTip(1, second)
            self.tree.addTopLevelItem(item)
        self.tree.resizeColumnToContents(0)
        self.tree.setColumnWidth(0, min(self.tree.columnWidth(0), 220))
        self.tree.setFixedHeight(min(self._needed_px(), _MAX_LIST_PX))
        self.setVisible(bool(title))

    def _needed_px(self) -> int:
        """Return the height that shows every row."""
        header = self.tree.header()
        top = header.sizeHint().height() if header is not None else 0
        rows = self.tree.topLevelItemCount() * max(self.tree.sizeHintForRow(0), 0)
        return int(top + rows + 2 * self.tree.frameWidth() + _LIST_MARGIN_PX)
