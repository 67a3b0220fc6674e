"""Step 2: which model of normal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton, QSizePolicy

from napari_dinoad.errors import ModelFileError
from napari_dinoad.gui.models.model_library import ModelSummary, read_model_summary
from napari_dinoad.gui.parts.folding import FoldingRow
from napari_dinoad.gui.parts.parts import NoteLabel, Step
from napari_dinoad.gui.parts.warning_list import WarningList
from napari_dinoad.machine.file_names import MODEL_SUFFIX

if TYPE_CHECKING:
    from napari_dinoad.gui.models.model_library import ModelLibrary

__all__ = ["NormalStep"]


_ABOUT_TIP = (
    "Kind of scan and plane · method on backbone · normal scans that it was fitted on · date.\n"
    "“To compare with”: as many of them, not seen by the method and with slices like most, say how high normal "
    "scores get."
)


class NormalStep(Step):
    """Chooses a model from those at hand or from a file, or asks for a new one to be fitted."""

    model_changed = Signal()
    fit_asked = Signal()
    demo_asked = Signal()

    def __init__(self, library: ModelLibrary) -> None:
        super().__init__("2  Normal")
        self._library = library
        self._models: list[ModelSummary] = []
        self.models = QComboBox()
        self.models.setToolTip("The model of normal to compare with. Those used last are at the top.")
        self.models.setAccessibleName("Model of normal")
        self.models.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.models.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.load_button = QPushButton("Load…")
        self.load_button.setToolTip(f"Choose a model file ({MODEL_SUFFIX}).")
        self.fit_button = QPushButton("Fit from folder…")
        self.fit_button.setToolTip("Make a model of normal from a folder of normal scans.")
        self.demo_button = QPushButton("Demo model")
        self.demo_button.setToolTip(
            "Make a small model from generated phantoms (a minute or two), to try the plugin with its sample data."
        )
        self.fault = NoteLabel()
        self.about = NoteLabel()
        self.not_listed = NoteLabel()
        self.misfit = WarningList()
        self.add_row(self.models, self.load_button)
        self.rows.addWidget(FoldingRow((self.fit_button, self.demo_button), (1, 1)))
        self.rows.addWidget(self.fault)
        self.rows.addWidget(self.about)
        self.rows.addWidget(self.not_listed)
        self.rows.addWidget(self.misfit)
        self.models.currentIndexChanged.connect(self._on_changed)
        self.load_button.clicked.connect(self._ask_for_file)
        self.fit_button.clicked.connect(self.fit_asked)
        self.demo_button.clicked.connect(self.demo_asked)
        self.reload()

    @property
    def model(self) -> ModelSummary | None:
        """The chosen model."""
        index = self.models.currentIndex()
        return self._models[index] if 0 <= index < len(self._models) else None

    def reload(self) -> None:
        """List the models at hand anew; the chosen one stays chosen."""
        chosen = self.model
        models, faults = self._library.look()
        self._list(models, None if chosen is None else chosen.path)
        # Without the folder of models, whose path may be long.
        self._tell_faults([str(fault).removeprefix(f"{self._library.folder}{os.sep}") for fault in faults])

    def choose(self, path: Path) -> None:
        """Choose the model in a file; one that is none is told, and the chosen model stays."""
        try:
            summary = read_model_summary(path)
        except ModelFileError as error:
            self.fault.tell_error(str(error))
            return
        self._library.remember(path)
        listed = self._library.models()
        if path not in [known.path for known in listed]:
            listed.insert(0, summary)
        self._list(listed, path)

    def _tell_faults(self, faults: list[str]) -> None:
        """Say that there are models which are not offered: those of an earlier version, after an upgrade."""
        others = f" And {len(faults) - 1} more, told where the mouse rests here." if len(faults) > 1 else ""
        self.not_listed.tell(f"Not listed: {faults[0]}{others}" if faults else "")
        self.not_listed.setToolTip("\n".join(faults))

    def tell_misfits(self, reasons: list[str]) -> None:
        """Warn that the model may not suit the scan."""
        self.misfit.tell(reasons)

    def _list(self, models: list[ModelSummary], chosen: Path | None) -> None:
        blocked = self.models.blockSignals(True)
        self._models = models
        self.models.clear()
        for summary in models:
            self.models.addItem(summary.name)
        paths = [summary.path for summary in models]
        self.models.setCurrentIndex(paths.index(chosen) if chosen in paths else 0 if paths else -1)
        self.models.blockSignals(blocked)
        self._on_changed()

    def _on_changed(self) -> None:
        model = self.model
        self.fault.tell("")
        self.about.tell(
            "No model yet: load one, fit one from normal scans, or try the demo model."
            if model is None
            else model.describe()
        )
        self.about.setToolTip("" if model is None else _ABOUT_TIP)
        self.model_changed.emit()

    def _ask_for_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Load a model of normal", str(self._library.folder), f"Models of normal (*{MODEL_SUFFIX})"
        )
        if name:
            self.choose(Path(name))
