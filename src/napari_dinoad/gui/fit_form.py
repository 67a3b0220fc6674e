"""The settings of a fit as a form; magicgui widgets, frozen into `FitSettings` when asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from magicgui.widgets import ComboBox, FileEdit, SpinBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_dinoad.backbones import find_backbone, list_backbones
from napari_dinoad.errors import SettingError
from napari_dinoad.settings import PRESETS, Device, FitSettings, ScorerName, preset

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FitForm"]

_PRESET_TITLES = {
    "mr-brain": "MR of the brain",
    "ct-head": "CT of the head",
    "ct-chest": "CT of the chest",
    "ct-abdomen": "CT of the abdomen",
    "oct": "OCT",
    "image-2d": "2D images (X-ray, photographs, slices)",
    "bmad": "BMAD benchmark",
}

_SCORER_NOTES = {
    "dpmm": "Mixture of normal patches; fits in minutes, small model, scores fast.",
    "ar-cnn": "Learns how patches follow from their surroundings; longest to fit, scores fastest, usually sharpest.",
    "memory-bank": "Keeps normal patches and looks up the nearest; fits at once, scores slowest.",
}

_SCORER_TITLES = {"dpmm": "DPMM", "ar-cnn": "AR-CNN", "memory-bank": "Memory bank"}

_OWN = 0
"""In the form, the number that means: as the method itself has it."""


class FitForm(QWidget):
    """Preset, scorer and backbone; the rest is in ``advanced``."""

    changed = Signal()

    def __init__(self, device: Device, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        defaults = FitSettings()
        self.preset = ComboBox(
            label="Kind of scan",
            choices=[(_PRESET_TITLES.get(name, name), name) for name in PRESETS],
            value="mr-brain",
            tooltip="How intensities are read and slices taken. It is stored in the model.",
        )
        self.scorer = ComboBox(
            label="Method",
            choices=[(_SCORER_TITLES[name], name) for name in get_args(ScorerName)],
            value=defaults.scorer,
            tooltip="What learns the normal patches.",
        )
        self.backbone = ComboBox(
            label="Backbone",
            choices=[(spec.name, spec.name) for spec in list_backbones()],
            value=defaults.backbone,
            tooltip="What turns slices into patch embeddings. Only 'embedded' needs no weights.",
        )
        _lay_out(self, (self.preset, self.scorer, self.backbone))
        for choice in (self.preset, self.scorer, self.backbone):
            choice.changed.connect(lambda value: self.changed.emit())
        self.advanced = _AdvancedForm(device)

    def notes(self) -> str:
        """Return one line each on the chosen method and backbone."""
        spec = find_backbone(self.backbone.value)
        size = f", {spec.parameters / 1e6:.0f} million weights" if spec.parameters else ""
        return (
            f"{_SCORER_TITLES[self.scorer.value]}: {_SCORER_NOTES[self.scorer.value]}\n"
            f"Backbone: {spec.description}{size}. Licence of the weights: {spec.licence}."
        )

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
        preprocessing = preset(self.preset.value)
        resolution = advanced.resolution_px.value
        if resolution != _OWN:
            preprocessing = type(preprocessing)(**{**vars(preprocessing), "resolution_px": resolution})
        return FitSettings(
            scorer=self.scorer.value,
            backbone=self.backbone.value,
            weights=weights or None,
            preprocessing=preprocessing,
            epochs=advanced.epochs.value or None,
            device=advanced.device.value,
            seed=advanced.seed.value,
        )


class _AdvancedForm(QWidget):
    """What most people leave as it is."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.weights = FileEdit(
            label="Weights file",
            mode="r",
            nullable=True,
            tooltip="Local weights of the backbone, kept for scoring; empty to search for them.",
        )
        self.resolution_px = SpinBox(
            label="Resolution", value=_OWN, min=_OWN, max=4096, step=32, tooltip="Pixels of the square input."
        )
        self.epochs = SpinBox(
            label="Epochs", value=_OWN, min=_OWN, max=1000, tooltip="How often the method sees all slices."
        )
        for box in (self.resolution_px, self.epochs):
            box.native.setSpecialValueText("its own")
        self.device = ComboBox(
            label="Device", choices=list(get_args(Device)), value=device, tooltip="Where the work is done."
        )
        self.seed = SpinBox(
            label="Seed", value=0, min=0, max=2**31 - 1, tooltip="The same seed gives the same model."
        )
        _lay_out(self, (self.weights, self.resolution_px, self.epochs, self.device, self.seed))


def _lay_out(parent: QWidget, fields: Sequence[Any]) -> None:
    """Put magicgui fields into rows with aligned labels."""
    form = QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for field in fields:
        form.addRow(field.label, field.native)
        form.labelForField(field.native).setToolTip(field.tooltip)
