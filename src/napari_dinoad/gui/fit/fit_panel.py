"""Fitting a model of normal from a folder: choose, look at what was found, fit, read the report."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import FileEdit
from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QDialog, QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinoad.errors import DinoadError, SettingError, WeightsNotFoundError
from napari_dinoad.fit_estimate import estimate_fit
from napari_dinoad.gui.fit.cohort_view import MIN_SCANS, CohortView
from napari_dinoad.gui.fit.fit_form import FitForm
from napari_dinoad.gui.fit.session import session_of
from napari_dinoad.gui.models.model_library import path_of_new_model
from napari_dinoad.gui.models.weights_dialog import WeightsDialog
from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.parts.folding import Folded, ScrolledColumn
from napari_dinoad.gui.parts.job_row import FIT_STOPS, STOPS, JobRow
from napari_dinoad.gui.parts.parts import NoteLabel, letter_scale, name_field, without_options
from napari_dinoad.gui.parts.profile_plot import CurvePlot
from napari_dinoad.images.preset_guess import suitable_preset
from napari_dinoad.machine.file_names import MODEL_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import napari.viewer
    from qtpy.QtGui import QHideEvent, QShowEvent

    from napari_dinoad.gui.fit.session import Session
    from napari_dinoad.images.discovery import Discovery

__all__ = ["FitDialog", "FitPanel"]

_TYPING_MS = 600
"""A path that was typed is taken for whole after a pause of so long, or when the field is left."""

N_THUMBNAILS = 5
"""Of more scans that were looked at, the first ones' pictures are shown; these are from all over the folder."""

_LOOK_SHOWN_MS = 400
"""How far a look into a folder is, and its Cancel, are shown when it takes longer."""


_CURVES = {"train_loss": "misfit", "validation_loss": "misfit of scans not learnt from"}
"""What curves are called, by the name of their figure."""

_CURVES_TIP = (
    "How ill the model fits the normal scans, round by round (epochs): lower is better. Only where the curves go "
    "tells something; what is unusual in a scan is told by p-values, which are made when the rounds are over."
)

_SHARE_OF_SCREEN = 0.9
"""Of its height and width, that the window takes at most; the rest is for its frame and the desktop's bar."""


class FitPanel(QWidget):
    """The form, the findings, the progress and the report. All state is in the session's `FitController`."""

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        session: Session | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session or session_of(napari_viewer)
        self._fit = self.session.fit
        self._preset_by_user = False
        self._out_by_user = False
        self.folder = FileEdit(
            mode="d", tooltip="Folder of normal scans; subfolders are looked into as well."
        )
        self.out = FileEdit(mode="w", filter=f"*{MODEL_SUFFIX}", tooltip="Where the model is saved.")
        name_field(self.folder, "Normal scans")
        name_field(self.out, "Save as")
        self.form = FitForm(self.session.configuration.device)
        self.notes = NoteLabel()
        self.found = CohortView()
        self.guess = self.form.kind_note
        self.advanced = Folded("More settings")
        self.advanced.addWidget(self.form.advanced)
        self.estimate = NoteLabel()
        self.start_button = QPushButton("Fit")
        self.start_button.setToolTip("Fit the model. This window may be closed meanwhile.")
        self.pause_button = QPushButton("Pause")
        self.pause_button.setToolTip("Stop after the piece of work in hand, and go on from there later.")
        self.weights_dialog: WeightsDialog | None = None
        self._has_begun = False
        self.looking = JobRow(delay_ms=_LOOK_SHOWN_MS, cancel_tip=STOPS)
        self.job = JobRow(cancel_tip=FIT_STOPS)
        self._typed = QTimer(self)
        self._typed.setSingleShot(True)
        self._typed.setInterval(_TYPING_MS)
        self.curves = CurvePlot()
        self.report = CohortView()
        self._scroll = ScrolledColumn()
        self._build()
        self._connect()
        self._show_state()

    def _on_unfolded(self, part: QWidget, is_open: bool) -> None:
        self._scroll.bring_into_sight(part)

    def _build(self) -> None:
        rows = self._scroll.rows
        rows.setSpacing(6)
        form = QFormLayout()
        form.addRow("Normal scans", self.folder.native)
        rows.addLayout(form)
        rows.addWidget(self.looking)
        rows.addWidget(self.found)
        rows.addWidget(self.form)
        rows.addWidget(self.notes)
        rows.addWidget(self.estimate)
        rows.addWidget(self.advanced)
        rows.addWidget(self.report)
        rows.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._scroll, 1)
        outer.addLayout(self._build_foot())
        FocusRing(self)

    def _build_foot(self) -> QVBoxLayout:
        """Return what stays in sight however long the rest is."""
        foot = QVBoxLayout()
        foot.setSpacing(6)
        # Above the buttons: they stay under the pointer when the first losses come.
        foot.addWidget(self.curves)
        save = QFormLayout()
        save.addRow("Save as", self.out.native)
        foot.addLayout(save)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start_button, 1)
        buttons.addWidget(self.pause_button)
        foot.addLayout(buttons)
        foot.addWidget(self.job)
        return foot

    def _connect(self) -> None:
        fit = self._fit
        self.job.follow(fit.runner)
        self.looking.follow(fit.scout)
        line = self.folder.line_edit.native
        line.textEdited.connect(self._on_typing)
        line.editingFinished.connect(self._on_typed)
        self._typed.timeout.connect(self._on_folder)
        self.folder.changed.connect(self._on_folder_changed)
        self.out.line_edit.native.textEdited.connect(self._on_out_edited)
        self.form.preset.native.activated.connect(self._on_preset_chosen)
        self.form.changed.connect(self._show_notes)
        for choice in (self.form.advanced.persons, self.form.advanced.stack_folders):
            choice.changed.connect(self._on_meant)
        self.form.series.chosen.connect(self._on_meant)
        self.start_button.clicked.connect(self.start)
        self.pause_button.clicked.connect(fit.pause)
        for part in (self.report.review, self.report.skipped, self.found.skipped, self.advanced):
            part.toggled.connect(partial(self._on_unfolded, part))
        fit.discovered.connect(self._show_found)
        fit.sampled.connect(self._show_samples)
        fit.refused.connect(self._on_refused)
        fit.curves_changed.connect(self._show_curves)
        fit.runner.started.connect(self._on_fit_started)
        fit.runner.stopping.connect(self._show_start)
        fit.ended.connect(self._show_state)

    def sizeHint(self) -> QSize:
        """Leave room for the report."""
        return QSize(480, 740)

    def start(self) -> None:
        """Start the fit with the settings in the form."""
        # On macOS buttons take no focus: what was typed is not taken yet, and the folder is looked into first.
        self.form.series.take_typed()
        try:
            settings = self.form.settings()
            out = self._checked_out()
        except SettingError as error:
            self.report.show_nothing(str(error), error=True)
            self._scroll.bring_into_sight(self.report)
            return
        if self._fit.discovery is not None:
            # After `_on_fit_started`, which all panels hear.
            self._has_begun = self._fit.start(self._fit.discovery.folder, settings, out)

    def _checked_out(self) -> Path:
        out = path_of_new_model(self.out.line_edit.value)
        if out.exists() and self._out_by_user:
            raise SettingError(f"Save as: {out} exists already. Choose another name, or remove it first.")
        return out if not out.exists() else self.session.library.free_path(out.stem)

    def _on_typing(self) -> None:
        """Wait for the whole path: each beginning of it is a folder too, the first one the whole disk."""
        self._typed.start()
        self._fit.forget_folder()
        self._forget_ending()
        self._show_found()

    def _on_typed(self) -> None:
        if self._typed.isActive():
            self._on_folder()

    def _on_folder_changed(self) -> None:
        if not self._typed.isActive():
            self._on_folder()

    def _on_folder(self) -> None:
        self._typed.stop()
        self._forget_ending()
        folder = _folder_named(self.folder.line_edit.value)
        if folder is None:
            self._fit.forget_folder()
            self._show_found()
            typed = self.folder.line_edit.value.strip()
            missing = f"{typed}: no such folder. " if typed not in ("", ".") else ""
            self.found.show_nothing(f"{missing}Choose a folder of normal scans.", error=True)
            return
        # Another folder has other series.
        self.form.series.show_wanted(None)
        self._look_into(folder)

    def _propose_out(self, folder: Path, series: str | None) -> None:
        """Propose a name for the model: that of the folder, and of the series that is chosen of it."""
        if not self._out_by_user:
            name = folder.name or "normal"
            self.out.value = self.session.library.free_path(f"{name}-{series}" if series else name)

    def _look_into(self, folder: Path) -> None:
        self._propose_out(folder, self.form.series.wanted)
        self._fit.look_into(folder, self.form.meant())
        self._show_looking()

    def _show_looking(self) -> None:
        self._show_found()
        self.found.show_nothing("Looking into the folder…")

    def return_to_look(self) -> None:
        """Go on with a look that was left with the window."""
        if self._fit.return_to_look():
            self._show_looking()

    def _on_meant(self) -> None:
        """Look into the folder again, where its scans or persons are meant otherwise than they were taken."""
        folder = _folder_named(self.folder.line_edit.value)
        if folder is not None and self.form.meant() != self._fit.meant:
            self._forget_ending()
            self._look_into(folder)

    def _forget_ending(self) -> None:
        """Take back how a fit of another folder ended without a model; with one, say that it was that fit."""
        self.curves.hide()
        if self._fit.outcome is None:
            self.report.show_nothing()
        else:
            self.report.show_outcome(self._fit.outcome, is_earlier=True)

    def _on_out_edited(self) -> None:
        self._out_by_user = True

    def _on_preset_chosen(self) -> None:
        self._preset_by_user = True
        self._show_guess()

    def _show_found(self) -> None:
        discovery = self._fit.discovery
        if discovery is None:
            self.found.show_nothing(self._fit.message, error=True)
            self.guess.tell("")
        else:
            self._show_discovery(discovery)
            self._show_samples()
        self._show_estimate()
        self._show_start()

    def _show_discovery(self, discovery: Discovery) -> None:
        self.found.show_discovery(discovery)
        self.form.show_meant(self._fit.meant)
        self.form.show_series(discovery.series)

    def _show_samples(self) -> None:
        """Show pictures of some scans, and the preset that they suggest."""
        self.found.thumbnails.show_samples(self._fit.samples[:N_THUMBNAILS])
        self._show_guess()

    def _show_guess(self) -> None:
        """Choose the preset that the scans suggest, or say where the user's choice does not go with them."""
        discovery, samples = self._fit.discovery, self._fit.samples
        if discovery is None or not discovery.scans or not (samples or discovery.is_mostly_2d):
            self.guess.tell("")
            return
        suitable = suitable_preset(discovery, [sample.look for sample in samples])
        mixed = without_options(suitable.mixed)
        if not self._preset_by_user and self._fit.job_under_way is None:
            self.form.preset.value = suitable.name
            self.guess.tell(mixed or f"Kind guessed from the scans: {suitable.why}.", warning=bool(mixed))
        elif self.form.preset.value not in (suitable.name, *suitable.also):
            self.guess.tell(f"The scans look like another kind: {suitable.why}.", warning=True)
        else:
            self.guess.tell(mixed, warning=True)

    def _show_estimate(self) -> None:
        discovery = self._fit.discovery
        if discovery is None or not discovery.scans:
            self.estimate.tell("")
            return
        estimate = estimate_fit(discovery, self.form.backbone.value, self.form.preprocessing())
        n_persons = estimate.n_scans if discovery.persons is None else discovery.persons.n
        spent = self.form.duration_in_words(n_persons, estimate.n_slices, estimate.n_voxels)
        words = f"{estimate.in_words()} About {spent} on this CPU."
        self.estimate.tell(
            words if estimate.has_room else f"{words} The disk may be too small.",
            warning=not estimate.has_room,
        )

    def _on_fit_started(self) -> None:
        self._has_begun = False
        self._show_state()

    def _on_refused(self, error: DinoadError) -> None:
        if isinstance(error, WeightsNotFoundError) and self._has_begun and self.isVisible():
            self.weights_dialog = WeightsDialog(error, self)
            self.weights_dialog.weights_added.connect(self.start)
            self.weights_dialog.open()

    def _show_notes(self) -> None:
        self.notes.tell(self.form.notes())
        self._show_estimate()
        self._show_start()

    def _show_start(self) -> None:
        discovery = self._fit.discovery
        enough = discovery is not None and len(discovery.scans) >= MIN_SCANS
        self.pause_button.setVisible(self._fit.runner.is_running)
        self.pause_button.setEnabled(not self._fit.runner.is_stopping)
        self.start_button.setEnabled(enough and not self._fit.runner.is_running)
        self.start_button.setText("Resume" if self._is_as_paused() else "Fit")

    def _is_as_paused(self) -> bool:
        """Whether the form has the settings of the fit that was paused: with others it would begin anew."""
        job = self._fit.job
        try:
            return self._fit.is_paused and job is not None and self.form.settings() == job.settings
        except SettingError:
            return False

    def _show_job(self) -> None:
        """Show what is being fitted, which cannot be changed meanwhile."""
        job = self._fit.job_under_way
        if job is not None:
            self.form.show_settings(job.settings)
            self.out.value = job.out
        for part in (self.folder.native, self.form, self.form.advanced, self.out.native):
            part.setEnabled(job is None)

    def _show_curves(self) -> None:
        losses = {
            _CURVES.get(name, name): values for name, values in self._fit.curves.items() if "loss" in name
        }
        self.curves.setVisible(bool(losses))
        self.curves.show_curves(losses)
        self.curves.setToolTip(_CURVES_TIP + _last_losses(self._fit.curves))

    def _show_state(self) -> None:
        """Show what the controller knows, also to a panel that is opened in the middle of a fit."""
        fit = self._fit
        if fit.discovery is not None:
            blocked = self.folder.native.blockSignals(True)
            with self.folder.changed.blocked():
                self.folder.value = fit.discovery.folder
            self.folder.native.blockSignals(blocked)
            if str(self.out.value).strip() in ("", "."):
                self._propose_out(fit.discovery.folder, fit.meant.series)
            self._show_discovery(fit.discovery)
        self._show_job()
        self._show_notes()
        self._show_curves()
        if fit.outcome is not None:
            self.report.show_outcome(fit.outcome)
            self._scroll.bring_into_sight(self.report)
        else:
            self.report.show_nothing(
                fit.message, error=bool(fit.message) and not fit.message.startswith(("Cancelled", "Paused"))
            )


def _last_losses(curves: Mapping[str, Sequence[float]]) -> str:
    """Return the raw losses of the last round in words, for those who know them; empty before the first one."""
    last = [f"{name.replace('_', ' ')} {v[-1]:.4g}" for name, v in curves.items() if "loss" in name]
    return f" Last round: {', '.join(last)}; all rounds are in the cohort report." if last else ""


def _folder_named(text: str) -> Path | None:
    """Return the folder that was typed, or None where there is none of that name."""
    if text.strip() in ("", "."):
        return None
    try:
        folder = Path(text).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        # Names that no folder can have, and homes of users who are not known.
        return None


class FitDialog(QDialog):
    """The fit panel in a window of its own; closing it does not stop the fit, but a look into the folder."""

    def __init__(self, viewer: napari.viewer.Viewer, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Fit a model of normal")
        self._fit = session.fit
        self.panel = FitPanel(viewer, session)
        rows = QVBoxLayout(self)
        rows.addWidget(self.panel)
        for button in self.findChildren(QPushButton):
            # Return ends the typing of a path; it presses nothing.
            button.setAutoDefault(False)
        self.panel.folder.line_edit.native.setFocus()
        # Qt itself takes no more than two thirds of a screen, on a laptop too little for the form.
        self.ensurePolished()
        screen = self.screen()
        if screen is not None:
            self.resize(self.sizeHint().boundedTo(screen.availableSize() * _SHARE_OF_SCREEN))

    def showEvent(self, event: QShowEvent | None) -> None:
        """Go on with a look into the folder that was left."""
        super().showEvent(event)
        if event is not None and not event.spontaneous():
            self.panel.return_to_look()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Leave a look into the folder: nobody waits for it. A window that is made small is hidden by the system."""
        super().hideEvent(event)
        if event is not None and not event.spontaneous():
            self._fit.leave_look()

    def sizeHint(self) -> QSize:
        """Leave room for as many letters, whatever their size."""
        return super().sizeHint() * letter_scale(self.panel.notes)
