"""What to export, and where to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import FileEdit
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.parts.folding import ScrolledColumn
from napari_dinoad.gui.parts.parts import NoteLabel, WrappedLabel, folder_of, name_field
from napari_dinoad.machine.file_names import safe_stem
from napari_dinoad.maps.hand_outputs import BY_HAND, HAND_OUTPUTS
from napari_dinoad.maps.outputs import ENDINGS, OUTPUTS, available_outputs, default_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qtpy.QtGui import QShowEvent

    from napari_dinoad.gui.results.hand_masks import HandLayer
    from napari_dinoad.images.volume import Geometry, Volume
    from napari_dinoad.maps.hand_mask import Making
    from napari_dinoad.settings import SegSegments

__all__ = ["ExportDialog"]


_SEGMENTS = {
    False: ("one segment for all regions", "a segment for each region"),
    True: ("one segment for all labels", "a segment for each label"),
}
"""What a DICOM-SEG may have, of a mask by hand or not."""

_LEAST_WIDTH_PX = 420

_LONGEST_NAME = 80
"""Letters of a person's name."""

_SHARE_OF_SCREEN = 0.9
"""A window has a frame, and a screen bars at its edges."""

_ROUNDED = 1e-3
"""Millimetres, or share, by which the affine of a written file may differ from its scan's."""

_OF_HAND = "Files hold this layer as it is now and say that it is by hand, without probabilities."


class _Choices(ScrolledColumn):
    """Scrolls up and down alone: no choice is cut off at its side."""

    def sizeHint(self) -> QSize:
        """Return the size in which nothing scrolls, where there is room for it."""
        edges = 2 * self.frameWidth()
        return (self.content.sizeHint() + QSize(edges, edges)).expandedTo(self.minimumSizeHint())

    def minimumSizeHint(self) -> QSize:
        """Return the least width, whatever the height."""
        return QSize(self.least_width(), super().minimumSizeHint().height())


class ExportDialog(QDialog):
    """Choices and a folder; `accepted` when they are to be written.

    Parameters
    ----------
    volume : Volume
        The scan; it says what can be written (DICOM-SEG needs a scan from DICOM).
    folder : Path, optional
        At first.
    by_hand : sequence of HandLayer
        Labels layers that may be exported in place of the found regions.
    selected : HandLayer, optional
        That of them which is chosen at first; None: the found regions are, or the first that can be exported.
    author : str
        By whom masks by hand are proposed to be.
    has_found : bool
        Whether there are found regions to export.
    is_of_another : callable, optional
        Takes a file that is there, and tells whether it is known to be of another scan.
    """

    def __init__(
        self,
        volume: Volume,
        folder: Path | None,
        parent: QWidget,
        by_hand: Sequence[HandLayer] = (),
        selected: HandLayer | None = None,
        *,
        author: str = "",
        has_found: bool = True,
        is_of_another: Callable[[Path], bool] = lambda path: False,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export result" if has_found else "Export mask")
        self._name = safe_stem(volume.name)
        self._geometry = volume.geometry
        self._has_found = has_found
        self._is_of_another = is_of_another
        self.masks = QComboBox()
        self.masks.setAccessibleName("Mask")
        if not has_found:
            self.masks.setPlaceholderText("choose")
        self.masks.setToolTip(
            "The regions that were found, or a Labels layer on the scan’s voxels (see “Draw mask”, “Edit mask”)."
        )
        self.makings = QComboBox()
        self.makings.addItem("correcting what was found", "corrected")
        self.makings.addItem("drawing by hand alone", "drawn")
        self.makings.setPlaceholderText("choose")
        self.makings.currentIndexChanged.connect(self._show_state)
        self.makings.setAccessibleName("Made by")
        self.makings.setToolTip("What the files say of it; in a DICOM-SEG: SEMIAUTOMATIC or MANUAL.")
        self._author = QLineEdit(author)
        self._author.setPlaceholderText("a name for the report, if you like")
        self._author.setAccessibleName("By whom")
        self._author.setToolTip(
            "Who made this mask: stands in the report (page and JSON), and in no other file. It is kept until napari "
            "is closed; File → Preferences → DINOAD has one to begin with."
        )
        self._author.setMaxLength(_LONGEST_NAME)
        self._found_words = ""
        self.regions = WrappedLabel()
        usual, possible = default_outputs(volume), available_outputs(volume)
        self.choices = {key: QCheckBox(title) for key, title in OUTPUTS.items() if key in possible}
        for key, box in self.choices.items():
            box.setChecked(key in usual)
            box.toggled.connect(self._show_state)
        self.segments = QComboBox()
        for words, key in zip(_SEGMENTS[False], ("single", "regions"), strict=True):
            self.segments.addItem(words, key)
        self.segments.setAccessibleName("Segments of the DICOM-SEG")
        self.segments.setToolTip("How the regions or labels lie in the DICOM-SEG.")
        self.folder = FileEdit(mode="d", tooltip="Where the files are written; it is made if needed.")
        name_field(self.folder, "Folder")
        if folder is not None:
            self.folder.value = folder
        self.folder.changed.connect(self._show_state)
        self.note = NoteLabel()
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        if has_found:
            self.masks.addItem("found regions", None)
        elif selected is None:
            selected = next((one for one in by_hand if not (one.fault or one.over_other)), None)
        self._list_masks(by_hand, selected)
        if not has_found and selected is None:
            # Each was made over another scan: which is meant only a person knows.
            self.masks.setCurrentIndex(-1)
        self._roomy = QSize()
        self._choices = _Choices()
        self._which = QFormLayout()
        self._lay_out()
        FocusRing(self)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.masks.currentIndexChanged.connect(self._on_mask_chosen)
        self._on_mask_chosen()

    def _lay_out(self) -> None:
        rows = self._choices.rows
        rows.setContentsMargins(0, 0, 0, 0)
        self._which.addRow("Mask", self.masks)
        self._which.addRow("Made by", self.makings)
        self._which.addRow("By whom", self._author)
        rows.addLayout(self._which)
        rows.addWidget(self.regions)
        for box in self.choices.values():
            rows.addWidget(box)
        form = QFormLayout()
        if "seg" in self.choices:
            form.addRow("DICOM-SEG", self.segments)
        form.addRow("Folder", self.folder.native)
        rows.addLayout(form)
        # The room of a note that has gone: the choices stay under the pointer.
        rows.addStretch(1)
        whole = QVBoxLayout(self)
        # No fixed width: with large letters the longest choice would be cut off.
        whole.addStrut(_LEAST_WIDTH_PX)
        whole.addWidget(self._choices)
        whole.addWidget(self.note)
        whole.addWidget(self.buttons)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Be as high as the choices, but no higher than the screen: they scroll above the buttons."""
        self._roomy = self._room()
        self.resize(self._roomy)
        super().showEvent(event)

    def _room(self) -> QSize:
        """Return the size that is wanted and that the screen has; Qt itself takes no more than two thirds of one."""
        screen = self.screen()
        # Qt puts off what the style of the viewer, or another mask, has made higher.
        self._choices.rows.activate()
        self._choices.updateGeometry()
        wanted = self.sizeHint()
        return wanted if screen is None else wanted.boundedTo(screen.availableSize() * _SHARE_OF_SCREEN)

    def _list_masks(self, by_hand: Sequence[HandLayer], selected: HandLayer | None) -> None:
        """List what may be exported; what may not is there too, and says why."""
        for one in by_hand:
            brief = one.fault_in_brief or (one.over_other and f"made over {one.over_other}")
            self.masks.addItem(f"“{one.name}”" + (f" ({brief})" if brief else ""), one)
            if one.fault:
                row = self.masks.count() - 1
                self.masks.setItemData(row, one.fault, Qt.ItemDataRole.ToolTipRole)
                model = self.masks.model()
                model.item(row).setEnabled(False)
            elif one is selected:
                self.masks.setCurrentIndex(self.masks.count() - 1)

    @property
    def by_hand(self) -> HandLayer | None:
        """The Labels layer that is to be exported; None: the found regions are."""
        chosen: HandLayer | None = self.masks.currentData()
        return chosen

    @property
    def making(self) -> Making | None:
        """How that layer was made; None until that is chosen."""
        chosen: Making | None = self.makings.currentData()
        return chosen

    @property
    def author(self) -> str:
        """Who made that layer, as they wish to be named; empty where nothing was said."""
        return str(self._author.text()).strip()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Keys of what is to be written."""
        return tuple(key for key, box in self.choices.items() if box.isChecked() and box.isEnabled())

    @property
    def seg_segments(self) -> SegSegments:
        """Whether a DICOM-SEG gets one segment or one for each region or label."""
        chosen: SegSegments = self.segments.currentData()
        return chosen

    @property
    def path(self) -> Path | None:
        """The chosen folder."""
        return folder_of(self.folder)

    def show_regions(self, n_ticked: int, n_regions: int, *, is_measured: bool, is_scoring: bool) -> None:
        """Say which regions masks and tables will hold, as far as that is known."""
        if not is_measured:
            so_far = "; slices that are not scored yet are left out" if is_scoring else ""
            self._found_words = f"Masks and tables hold the regions that are found at this rate{so_far}."
        else:
            regions = f"{n_regions} region{'' if n_regions == 1 else 's'}"
            regions = f"{n_ticked} of {regions}" if n_ticked < n_regions else regions
            self._found_words = f"Masks and tables hold the ticked regions: {regions}."
        self._show_words()

    def _show_words(self) -> None:
        self.regions.setText(self._found_words if self.by_hand is None else _OF_HAND)

    def _on_mask_chosen(self) -> None:
        """Offer what can be written of the chosen mask."""
        one = self.by_hand
        if one is not None:
            self.makings.setCurrentIndex(-1 if one.making is None else self.makings.findData(one.making))
        for field in (self.makings, self._author):
            for widget in (field, self._which.labelForField(field)):
                widget.setVisible(one is not None)
        for key, box in self.choices.items():
            box.setText(OUTPUTS[key] if one is None else HAND_OUTPUTS.get(key, OUTPUTS[key]))
            box.setEnabled(one is None or key in HAND_OUTPUTS)
            box.setVisible(box.isEnabled())
        for row, words in enumerate(_SEGMENTS[one is not None]):
            self.segments.setItemText(row, words)
        self._show_words()
        self._show_state()
        self._choices.updateGeometry()

    def _there(self) -> tuple[list[Path], list[Path]]:
        """Return the files of such names that would be replaced, and those that would stay."""
        folder, chosen = self.path, self.outputs
        if folder is None:
            return [], []
        stem = self._name if self.by_hand is None else self._name + BY_HAND
        replaced: list[Path] = []
        staying: list[Path] = []
        try:
            for output, endings in ENDINGS.items():
                there = [path for path in (folder / f"{stem}{end}" for end in endings) if path.exists()]
                (replaced if output in chosen else staying).extend(there)
        except (OSError, ValueError):
            return [], []
        return replaced, staying

    def _show_state(self) -> None:
        missing = "" if self.outputs else "Choose what to export."
        if self.by_hand is None and not self._has_found:
            missing = "Choose which mask to export."
        if self.by_hand is not None and self.making is None:
            missing = missing or "Choose how this mask was made: the files will say so."
        if self.path is None:
            missing = missing or "Choose a folder."
        replaced, staying = self._there()
        if any(self._is_of_another(path) or _is_on_another_grid(path, self._geometry) for path in replaced):
            missing = missing or (
                f"The files named “{self._name}_…” there are of another scan of this name. Choose another folder."
            )
        warnings = self._what_is_there(replaced, staying)
        if self.by_hand is not None and self.by_hand.over_other:
            warnings.insert(
                0,
                f"This mask was made over {self.by_hand.over_other}: export it only if that is the same person.",
            )
        self.note.tell(missing or " ".join(warnings), warning=not missing)
        self.segments.setEnabled("seg" in self.outputs)
        self.buttons.button(QDialogButtonBox.StandardButton.Save).setEnabled(not missing)
        if self.isVisible():
            self._grow()

    def _grow(self) -> None:
        """Let a longer note take no room from the choices; a side that a person has made shorter stays so."""
        before, now, room = self._roomy, self.size(), self._room()
        self._roomy = room.expandedTo(before)
        self.resize(
            max(now.width(), room.width()) if now.width() >= before.width() else now.width(),
            max(now.height(), room.height()) if now.height() >= before.height() else now.height(),
        )

    def _what_is_there(self, replaced: list[Path], staying: list[Path]) -> list[str]:
        """Return what is said of files that are there already."""
        told = []
        if replaced:
            told.append(
                f"{self._counted(replaced)} there already and will be replaced. Choose another folder if another "
                "scan of this name was meant."
            )
            # Loaded here: the dock opens without what draws pictures.
            from napari_dinoad.maps.pages.worklist import WORKLIST_PAGE

            if self.by_hand is None and replaced[0].with_name(WORKLIST_PAGE).exists():
                told.append("The worklist there stays as it is.")
        if staying:
            them = "it may" if len(staying) == 1 else "they may"
            stay = "stays" if len(staying) == 1 else "stay"
            told.append(f"{self._counted(staying)} there already and {stay}: {them} be of another result.")
        return told

    def _counted(self, files: list[Path]) -> str:
        n = len(files)
        return f"1 file named “{self._name}_…” is" if n == 1 else f"{n} files named “{self._name}_…” are"


def _is_on_another_grid(path: Path, geometry: Geometry) -> bool:
    """Whether a file is NIfTI on another grid than a scan's; not so where that cannot be read."""
    if not path.name.endswith(".nii.gz"):
        return False
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nib.load(path)
        shape, affine = image.shape, image.affine
    except (OSError, ValueError, EOFError, ImageFileError):
        return False
    n = len(geometry.shape)
    is_same_shape = shape[:n] == geometry.shape and set(shape[n:]) <= {1}
    return not (is_same_shape and np.allclose(affine, geometry.affine, rtol=_ROUNDED, atol=_ROUNDED))
