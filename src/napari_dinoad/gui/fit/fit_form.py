"""The settings of a fit as a form; magicgui widgets, frozen into `FitSettings` when asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from magicgui.widgets import ComboBox, FileEdit, SpinBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QWidget

from napari_dinoad.backbones import find_backbone, list_backbones
from napari_dinoad.errors import SettingError
from napari_dinoad.gui.fit.fit_costs import backbone_line, fit_duration_in_words, scorer_line, scorer_title
from napari_dinoad.gui.parts.folder_images import folder_images_field
from napari_dinoad.gui.parts.parts import NoteLabel, name_field
from napari_dinoad.gui.parts.series_field import SeriesField
from napari_dinoad.gui.work.jobs import MeantScans
from napari_dinoad.settings import (
    PRESETS,
    CalibrationSettings,
    Device,
    FitSettings,
    ReadSettings,
    preset,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.settings import PreprocessingSettings

__all__ = ["FitForm"]

_PRESET_TITLES = {
    "mr-brain": "MR of the brain",
    "ct-head": "CT of the head",
    "ct-chest": "CT of the chest",
    "ct-abdomen": "CT of the abdomen",
    "oct": "OCT",
    "image-2d": "2D images as stored (X-ray, photographs as grey)",
    "mr-slices": "2D images, each scaled by itself (slices of MR)",
    "image-colour": "Colour (photographs, histology, sections of the body)",
    "bmad": "BMAD benchmark",
}

_SCORERS = ("dpmm", "ar-cnn", "memory-bank", "dpmm+ar-cnn")
"""Those offered; the last fits two side by side."""

_PLANES = {
    "": "its own",
    "axial": "axial",
    "coronal": "coronal",
    "sagittal": "sagittal",
    "acquired": "as acquired",
    "all": "all three, combined",
}

_PERSONS = {
    "auto": "by sub-… names or DICOM",
    "each-scan": "each scan is a person",
    "folder": "those of a folder are a person",
    "name": "a name before a number is a person",
}

_OWN = 0
"""In the form, the number that means: as the method itself has it."""


class FitForm(QWidget):
    """Series where there are several, preset with a note on it, scorer and backbone; the rest is in ``advanced``."""

    changed = Signal()

    def __init__(self, device: Device) -> None:
        super().__init__()
        defaults = FitSettings()
        self.preset = ComboBox(
            label="Kind of scan",
            choices=[(_PRESET_TITLES.get(name, name), name) for name in PRESETS],
            value="mr-brain",
            tooltip="How intensities are read and slices taken. It is stored in the model.",
        )
        self.scorer = ComboBox(
            label="Method",
            choices=[(scorer_title(name), name) for name in _SCORERS],
            value=defaults.scorer,
            tooltip="What learns the normal patches: a Dirichlet-process mixture model (DPMM), an autoregressive "
            "convolutional network (AR-CNN), or a memory bank.",
        )
        self.backbone = ComboBox(
            label="Backbone",
            choices=[(spec.name, spec.name) for spec in list_backbones()],
            value=defaults.backbone,
            tooltip="What turns slices into patch embeddings. Only 'embedded' needs no weights.",
        )
        self.kind_note = NoteLabel()
        self.series = SeriesField()
        self._series_label = QLabel("Series")
        self._series_label.setToolTip(self.series.toolTip())
        rows = _lay_out(self, (self.preset, self.scorer, self.backbone))
        rows.insertRow(1, self.kind_note)
        rows.insertRow(0, self._series_label, self.series)
        self.show_series(())
        self.advanced = _AdvancedForm(device)
        for choice in (self.preset, self.scorer, self.backbone, *self.advanced.fields):
            choice.changed.connect(self._on_changed)

    def _on_changed(self, value: object) -> None:
        self.changed.emit()

    def notes(self) -> str:
        """Return one line each on the chosen method and backbone."""
        backbone = backbone_line(find_backbone(self.backbone.value), preset(self.preset.value).colour)
        return f"{scorer_line(self.scorer.value)}\n{backbone}"

    def duration_in_words(self, n_persons: int, n_slices: int, n_voxels: int) -> str:
        """Return how long a fit on scans of so many persons, slices and voxels in all may take."""
        chosen = self.preprocessing()
        return fit_duration_in_words(
            n_persons,
            n_slices,
            self.scorer.value,
            find_backbone(self.backbone.value),
            chosen.resolution_px,
            chosen.colour,
            n_voxels,
        )

    def meant(self) -> MeantScans:
        """Return which scans of the folder are meant, whose they are, and what its 2D images are."""
        return MeantScans(self.advanced.persons.value, self.advanced.stack_folders.value, self.series.wanted)

    def show_series(self, names: Sequence[tuple[str, int]]) -> None:
        """Offer the series of a folder, by name and number of scans, where there are several."""
        self.series.show_series(names)
        for part in (self.series, self._series_label):
            part.setVisible(self.series.has_choice)

    def show_meant(self, meant: MeantScans) -> None:
        """Show how the scans of the folder were meant; the fields tell of no change, the form does."""
        persons, stack_folders = self.advanced.persons, self.advanced.stack_folders
        with persons.changed.blocked(), stack_folders.changed.blocked():
            persons.value, stack_folders.value = meant.persons, meant.stack_folders
        self.series.show_wanted(meant.series)
        self.changed.emit()

    def preprocessing(self) -> PreprocessingSettings:
        """Return the chosen preset with what was changed of it."""
        advanced, chosen = self.advanced, preset(self.preset.value)
        if advanced.resolution_px.value != _OWN:
            chosen = replace(chosen, resolution_px=advanced.resolution_px.value)
        return replace(chosen, plane=advanced.plane.value) if advanced.plane.value else chosen

    def show_settings(self, settings: FitSettings) -> None:
        """Show settings that a form has given."""
        advanced, chosen = self.advanced, settings.preprocessing
        if chosen is not None:
            own = preset(chosen.preset)
            self.preset.value = chosen.preset
            advanced.plane.value = "" if chosen.plane == own.plane else chosen.plane
            is_own = chosen.resolution_px == own.resolution_px
            advanced.resolution_px.value = _OWN if is_own else chosen.resolution_px
        reading = settings.reading
        self.show_meant(MeantScans(settings.calibration.persons, reading.stack_folders, reading.series))
        self.scorer.value = settings.scorer
        self.backbone.value = settings.backbone
        advanced.weights.value = settings.weights
        advanced.epochs.value = settings.epochs or _OWN
        advanced.device.value = settings.device
        advanced.seed.value = settings.seed

    def settings(self) -> FitSettings:
        """Return the settings as they are in the form.

        Raises
        ------
        SettingError
            If they do not go together.
        """
        advanced = self.advanced
        weights = str(advanced.weights.value or "").strip()
        if weights in ("", "."):
            weights = ""
        elif not Path(weights).is_file():
            raise SettingError(
                f"Weights: expected a file, found none at {weights}. Choose one or leave it empty."
            )
        return FitSettings(
            scorer=self.scorer.value,
            backbone=self.backbone.value,
            weights=weights or None,
            preprocessing=self.preprocessing(),
            reading=ReadSettings(self.series.wanted, stack_folders=advanced.stack_folders.value),
            calibration=CalibrationSettings(persons=advanced.persons.value),
            epochs=advanced.epochs.value or None,
            device=advanced.device.value,
            seed=advanced.seed.value,
        )


class _AdvancedForm(QWidget):
    """What most people leave as it is."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.persons = ComboBox(
            label="Persons",
            choices=[(title, name) for name, title in _PERSONS.items()],
            value="auto",
            tooltip="Which scans are of one person: they are held out together, and count as one. “sub-…” at the "
            "beginning of names and DICOM's PatientID tell it; else the first folder, or a name with a number at its "
            "end (anna_01, anna_02), may.",
        )
        self.stack_folders = folder_images_field()
        self.weights = FileEdit(
            label="Weights file",
            mode="r",
            nullable=True,
            tooltip="Local weights of the backbone, kept for scoring; empty to search for them.",
        )
        self.resolution_px = SpinBox(
            label="Resolution (0: as usual)",
            value=_OWN,
            min=_OWN,
            max=4096,
            step=32,
            tooltip="Pixels of the square input; 0: those of the backbone and the kind of scan.",
        )
        self.plane = ComboBox(
            label="Plane",
            choices=[(title, name) for name, title in _PLANES.items()],
            value="",
            tooltip="In which slices are taken. All three take three times as long and find more.",
        )
        self.epochs = SpinBox(
            label="Rounds (0: as usual)",
            value=_OWN,
            min=_OWN,
            max=1000,
            tooltip="Epochs: how often the method sees all slices; 0: as often as is usual for it.",
        )
        self.device = ComboBox(
            label="Device", choices=list(get_args(Device)), value=device, tooltip="Where the work is done."
        )
        self.seed = SpinBox(
            label="Seed", value=0, min=0, max=2**31 - 1, tooltip="The same seed gives the same model."
        )
        self.fields = (
            self.persons,
            self.stack_folders,
            self.weights,
            self.plane,
            self.resolution_px,
            self.epochs,
            self.device,
            self.seed,
        )
        _lay_out(self, self.fields)


def _lay_out(parent: QWidget, fields: Sequence[Any]) -> QFormLayout:
    """Put magicgui fields into rows with aligned labels."""
    form = QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for field in fields:
        if isinstance(field, ComboBox):
            # Its longest choice would be wider than a dock is.
            field.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        if isinstance(field, FileEdit):
            name_field(field, field.label)
        else:
            field.native.setAccessibleName(field.label)
        form.addRow(field.label, field.native)
        form.labelForField(field.native).setToolTip(field.tooltip)
    return form
