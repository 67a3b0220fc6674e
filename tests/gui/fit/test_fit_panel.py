"""Fitting from a folder: what is shown before, during and after, and that it does not depend on the window."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from magicgui.widgets import FileEdit
from napari.settings import get_settings
from qtpy.QtCore import QPoint, Qt, QThreadPool
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QStyle,
    QStyleOptionComboBox,
)

from napari_dinoad.errors import ScanReadError, WeightsNotFoundError
from napari_dinoad.gui.fit.fit_panel import N_THUMBNAILS, FitPanel
from napari_dinoad.gui.fit.samples_of_folder import ScanSample
from napari_dinoad.gui.fit.session import session_of
from napari_dinoad.gui.work import jobs
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.images.preset_guess import ScanLook
from patience import PATIENCE_S, TIMEOUT_MS
from small_heads import save_dicom_head


@pytest.fixture
def folder(cohort, tmp_path):
    """Return a folder of normal scans with some that cannot be used."""
    root = tmp_path / "normals"
    shutil.copytree(cohort.normal_folder, root)
    (root / "notes.txt").write_text("hello")
    (root / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    return root


@pytest.fixture
def quick(monkeypatch, fast_settings):
    """Let every fit be a quick one."""
    real = jobs.FitJob.__call__

    def fit(self, channel):
        return real(replace(self, settings=fast_settings), channel)

    monkeypatch.setattr(jobs.FitJob, "__call__", fit)


@pytest.fixture
def gate(monkeypatch):
    """Hold a fit at its first step until the gate is opened."""
    gate = threading.Event()
    real = jobs.FitJob.__call__

    def fit(self, channel):
        channel.progress(jobs.ProgressEvent("Waiting", 1, 4))
        assert gate.wait(PATIENCE_S)
        return real(self, channel)

    monkeypatch.setattr(jobs.FitJob, "__call__", fit)
    return gate


def open_panel(qtbot, dock, folder):
    dock.normal.fit_button.click()
    panel = dock.windows.fit.panel
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.folder.value = folder
    return panel


def fit(qtbot, panel):
    with qtbot.waitSignal(panel.session.fit.ended, timeout=TIMEOUT_MS):
        panel.start_button.click()


def test_folder_is_summed_up_before_anything_starts(qtbot, dock, folder):
    panel = open_panel(qtbot, dock, folder)
    assert "Found 4 volumes, all 56 × 64 × 20" in panel.found.text.text()
    assert panel.found.skipped.text() == "Skipped (2)"
    tree = panel.found.skipped.tree
    reasons = {tree.topLevelItem(i).text(0): tree.topLevelItem(i).text(1) for i in range(2)}
    assert set(reasons) == {"notes.txt", "broken.nii.gz"}
    assert all(reasons.values())
    panel.found.skipped.expand()
    QApplication.processEvents()
    assert not panel.start_button.visibleRegion().isEmpty()
    assert "slices" in panel.estimate.text()
    assert "on disk" in panel.estimate.text()
    assert "on this CPU" in panel.estimate.text()
    qtbot.waitUntil(lambda: len(panel.found.thumbnails.labels) == 4, timeout=TIMEOUT_MS)
    assert "mm" in panel.found.thumbnails.labels[0].toolTip()
    assert panel.form.preset.value == "mr-brain"
    assert "guessed" in panel.guess.text()
    assert panel.start_button.isEnabled()
    panel.form.scorer.value = "dpmm+ar-cnn"
    assert "combined into one map" in panel.notes.text()
    assert not dock.session.fit.runner.is_running


def test_fitted_model_is_chosen_in_the_dock(qtbot, dock, folder, quick):
    panel = open_panel(qtbot, dock, folder)
    fit(qtbot, panel)
    outcome = dock.session.fit.outcome
    assert outcome.path.is_file()
    assert dock.normal.model.path == outcome.path
    assert dock.normal.model.n_scans == 4
    assert "4 scans" in panel.report.text.text()
    assert "2 skipped" in panel.report.text.text()
    assert "Least normal" in panel.report.review.text()
    listed = panel.report.review.tree
    assert listed.topLevelItemCount() == 4
    assert all(listed.topLevelItem(row).text(1) for row in range(4))
    assert "below 0.20 can be claimed" in panel.report.notes.text()
    # Lists that are opened at the foot come into sight.
    dock.windows.fit.resize(480, 500)
    QApplication.processEvents()
    panel.report.review.expand()
    qtbot.waitUntil(lambda: listed.visibleRegion().boundingRect().height() == listed.height())
    assert outcome.page.is_file()
    assert not panel.report.page_button.isHidden()
    assert "broken.nii.gz" in {path.path.name for path in outcome.skipped}


def test_a_second_fit_does_not_replace_the_first(qtbot, dock, folder, quick):
    panel = open_panel(qtbot, dock, folder)
    fit(qtbot, panel)
    first = dock.session.fit.outcome.path
    fit(qtbot, panel)
    second = dock.session.fit.outcome.path
    assert first.is_file()
    assert second.is_file()
    assert first != second


def test_what_was_fitted_before_is_not_taken_for_another_folder(qtbot, dock, folder, quick, tmp_path):
    panel = open_panel(qtbot, dock, folder)
    fit(qtbot, panel)
    assert panel.report.text.text().startswith("Done in")
    dock.session.fit.curves = {"train_loss": [2.0, 1.0]}
    dock.session.fit.curves_changed.emit()
    assert not panel.curves.isHidden()
    other = shutil.copytree(folder, tmp_path / "other")
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.folder.value = other
    assert panel.report.text.text().startswith("Of the fit before: Done in")
    assert "Least normal" in panel.report.review.text()
    assert panel.curves.isHidden()


def test_a_fit_tells_what_it_does_before_there_is_a_process_for_it(
    folder, fast_settings, tmp_path, monkeypatch
):
    events = []
    monkeypatch.setattr(jobs, "run_in_process", lambda job, channel: events.append(None))
    jobs.FitJob(folder, fast_settings, tmp_path / "m.dinoad")(JobChannel(events.append, lambda item: None))
    assert [event and event.stage for event in events] == ["Looking for scans", None]


def test_window_may_be_closed_and_opened_again_in_a_fit(qtbot, dock, viewer, folder, quick, gate):
    panel = open_panel(qtbot, dock, folder)
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    dock.windows.fit.close()
    assert dock.session.fit.runner.is_running
    assert not dock.fitting.isHidden()
    qtbot.waitUntil(lambda: "Waiting" in dock.fitting.stage.text(), timeout=TIMEOUT_MS)
    another = FitPanel(viewer)
    qtbot.addWidget(another)
    assert another.session is dock.session
    assert "Waiting" in another.job.stage.text()
    assert not another.start_button.isEnabled()
    assert "4 volumes" in another.found.text.text()
    with qtbot.waitSignal(dock.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()
    assert dock.normal.model is not None
    assert "Done" in another.report.text.text()


def test_cancel_leaves_no_model_and_keeps_the_one_that_was_chosen(
    qtbot, dock, folder, quick, gate, model_path
):
    dock.normal.choose(model_path)
    panel = open_panel(qtbot, dock, folder)
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    for row in (panel.job, dock.fitting):
        assert "no model is written" in row.cancel_button.toolTip()
    panel.job.cancel_button.click()
    with qtbot.waitSignal(dock.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()
    assert "Cancelled" in panel.report.text.text()
    assert not list(dock.session.library.folder.glob("*.dinoad"))
    assert dock.normal.model.path == model_path
    assert panel.start_button.isEnabled()


def test_pause_and_resume(qtbot, dock, folder, quick, gate):
    panel = open_panel(qtbot, dock, folder)
    assert panel.pause_button.isHidden()
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    assert not panel.pause_button.isHidden()
    panel.pause_button.click()
    assert dock.fitting.stage.text() == panel.job.stage.text() == "Stopping…"
    assert not any(button.isEnabled() for button in (panel.pause_button, panel.job.cancel_button))
    with qtbot.waitSignal(dock.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()
    assert panel.start_button.text() == "Resume"
    assert "Paused" in panel.report.text.text()
    panel.folder.value = folder.parent
    assert not panel.report.text.text(), "there is nothing of that folder to resume"
    panel.folder.value = folder
    qtbot.waitUntil(is_shown(dock, folder), timeout=TIMEOUT_MS)
    fit(qtbot, panel)
    assert dock.normal.model is not None
    assert panel.start_button.text() == "Fit"


def what_is_chosen(panel):
    """Return the parts of a panel that say what is fitted, and where it is saved."""
    form = panel.form
    return panel.folder.native, form, form.advanced, panel.out.native


def test_what_is_fitted_cannot_be_changed_meanwhile(qtbot, dock, viewer, folder, quick, gate):
    panel = open_panel(qtbot, dock, folder)
    assert all(part.isEnabled() for part in what_is_chosen(panel))
    panel.form.scorer.value = "ar-cnn"
    panel.form.advanced.epochs.value = 3
    panel.form.advanced.plane.value = "coronal"
    panel.form.advanced.resolution_px.value = 96
    panel.out.value = dock.session.library.folder / "mine.dinoad"
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    assert not any(part.isEnabled() for part in what_is_chosen(panel))
    another = FitPanel(viewer)
    qtbot.addWidget(another)
    assert another.form.settings() == panel.form.settings(), "what is fitted, not what a new form has"
    assert another.out.value == panel.out.value
    assert not any(part.isEnabled() for part in what_is_chosen(another))
    with qtbot.waitSignal(dock.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()
    for one in (panel, another):
        assert all(part.isEnabled() for part in what_is_chosen(one))


def test_the_kind_is_not_guessed_anew_in_a_fit(qtbot, dock, folder, quick, gate):
    panel = open_panel(qtbot, dock, folder)
    qtbot.waitUntil(lambda: len(dock.session.fit.samples) == 4, timeout=TIMEOUT_MS)
    samples, dock.session.fit.samples = dock.session.fit.samples, []
    panel.form.preset.value = "ct-head"
    panel.start_button.click()
    dock.session.fit.samples = samples
    dock.session.fit.sampled.emit()
    assert panel.form.preset.value == "ct-head"
    assert "look like another kind" in panel.guess.text()
    gate.set()


def test_a_folder_can_be_prepared_while_the_demo_model_is_fitted(qtbot, dock, folder, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(jobs.DemoModelJob, "__call__", lambda self, channel: gate.wait(PATIENCE_S))
    panel = open_panel(qtbot, dock, folder)
    dock.normal.demo_button.click()
    assert dock.session.fit.runner.is_running
    assert all(part.isEnabled() for part in what_is_chosen(panel))
    assert not panel.start_button.isEnabled()
    with qtbot.waitSignal(dock.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()


def test_only_what_was_paused_is_resumed(qtbot, dock, folder, quick, gate):
    panel = open_panel(qtbot, dock, folder)
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    panel.pause_button.click()
    with qtbot.waitSignal(dock.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()
    assert panel.start_button.text() == "Resume"
    panel.form.scorer.value = "ar-cnn"
    assert panel.start_button.text() == "Fit", "another fit, from the beginning"
    panel.form.scorer.value = "dpmm"
    assert panel.start_button.text() == "Resume"
    panel.form.advanced.seed.value = 1
    assert panel.start_button.text() == "Fit"


def test_missing_weights_are_told_with_the_three_ways(qtbot, dock, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("DINOAD_WEIGHTS", str(tmp_path / "weights"))
    error = WeightsNotFoundError(
        "dinov2_vits14", "Apache-2.0", ("the settings folder",), "no network", ("run", "download F", "add")
    )

    def refuse(self, channel):
        raise error

    monkeypatch.setattr(jobs.FitJob, "__call__", refuse)
    panel = open_panel(qtbot, dock, folder)
    fit(qtbot, panel)
    dialog = panel.weights_dialog
    text = " ".join(label.text() for label in dialog.findChildren(QLabel))
    for words in (
        "1. With internet",
        "2. Download",
        "3. Put",
        "no network",
        "Apache-2.0",
        str(tmp_path / "weights"),
    ):
        assert words in text
    told = panel.report.text.text()
    assert "weights of dinov2_vits14 are not on this machine" in told
    assert "--" not in told, "options of the command line"
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"no weights")
    with qtbot.waitSignal(dialog.runner.finished, timeout=TIMEOUT_MS):
        dialog.add_file(wrong)
    assert "wrong.pth" in dialog.note.text()
    dialog.reject()


def test_missing_weights_are_told_by_the_panel_that_began_the_fit_alone(
    qtbot, dock, viewer, folder, monkeypatch
):
    def refuse(self, channel):
        raise WeightsNotFoundError("dinov2_vits14", "Apache-2.0", ("there",), "no network", ("run",))

    monkeypatch.setattr(jobs.FitJob, "__call__", refuse)
    viewer.show()
    _, docked = viewer.window.add_plugin_dock_widget("napari-dinoad", "Fit a model of normal")
    panel = open_panel(qtbot, dock, folder)
    assert docked.isVisible()
    assert panel.isVisible()
    for one, other in ((panel, docked), (docked, panel)):
        fit(qtbot, one)
        assert one.weights_dialog is not None
        assert other.weights_dialog is None
        one.weights_dialog.reject()
        one.weights_dialog = None


def test_closing_the_dock_does_not_stop_a_fit(qtbot, viewer, own_folders, folder, quick, gate):
    window_dock, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    panel = open_panel(qtbot, dock, folder)
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    models = dock.session.library.folder
    viewer.window.remove_dock_widget(window_dock)
    dock = window_dock = panel = None
    gate.set()
    qtbot.waitUntil(lambda: bool(list(models.glob("*.dinoad"))), timeout=TIMEOUT_MS)
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().waitForDone(20), timeout=TIMEOUT_MS)
    qtbot.wait(50)


def test_a_dock_opened_anew_in_a_fit_shows_it_and_gets_its_model(
    qtbot, viewer, own_folders, folder, quick, gate
):
    window_dock, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    panel = open_panel(qtbot, dock, folder)
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    viewer.window.remove_dock_widget(window_dock)
    dock = window_dock = panel = None
    _, again = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert not again.fitting.isHidden()
    assert "Waiting" in again.fitting.stage.text()
    assert not again.normal.demo_button.isEnabled()
    with qtbot.waitSignal(again.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()
    assert again.normal.model.path == again.session.fit.outcome.path


def test_the_fit_of_another_viewer_is_not_shown(
    qtbot, dock, make_napari_viewer, own_folders, folder, quick, gate
):
    panel = open_panel(qtbot, dock, folder)
    panel.start_button.click()
    _, other = make_napari_viewer().window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert other.session is not dock.session
    assert other.fitting.isHidden()
    with qtbot.waitSignal(dock.session.fit.ended, timeout=TIMEOUT_MS):
        gate.set()


def test_closing_the_viewer_in_a_fit_ends_cleanly(
    qtbot, make_napari_viewer, own_folders, folder, quick, gate, notifications
):
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    panel = open_panel(qtbot, dock, folder)
    panel.start_button.click()
    qtbot.waitUntil(lambda: dock.session.fit.runner.last_progress is not None, timeout=TIMEOUT_MS)
    models = dock.session.library.folder
    viewer.close()
    dock = panel = None
    gate.set()
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().waitForDone(20), timeout=TIMEOUT_MS)
    qtbot.wait(50)
    assert notifications == []
    assert not list(models.glob("*.dinoad"))


def test_folder_without_scans_cannot_be_fitted(qtbot, dock, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    panel = open_panel(qtbot, dock, empty)
    assert "No scan" in panel.found.text.text()
    assert not panel.start_button.isEnabled()


def test_folder_of_pictures_suggests_the_2d_preset(qtbot, dock, tmp_path):
    from PIL import Image

    for i in range(3):
        Image.new("L", (32, 32), 10 * i).save(tmp_path / f"{i}.png")
    panel = open_panel(qtbot, dock, tmp_path)
    assert panel.form.preset.value == "image-2d"
    assert "3 2D images" in panel.found.text.text()


def test_cancel_and_pause_stay_in_their_places_when_the_losses_come(qtbot, dock, folder):
    panel = open_panel(qtbot, dock, folder)
    window = panel.window()
    window.show()
    panel.job.show()
    panel.pause_button.show()
    qtbot.waitUntil(lambda: panel.job.cancel_button.isVisible())
    QApplication.processEvents()
    buttons = panel.job.cancel_button, panel.pause_button, panel.start_button

    def places():
        QApplication.processEvents()
        window.layout().activate()
        return [button.mapTo(window, QPoint()) for button in buttons]

    before = places()
    dock.session.fit.curves["train_loss"] = [3.0, 2.0, 1.0]
    dock.session.fit.curves_changed.emit()
    assert panel.curves.isVisible()
    assert places() == before


def test_plain_words_are_shown_and_terms_are_in_tool_tips(qtbot, dock, folder, monkeypatch):
    panel = open_panel(qtbot, dock, folder)
    fit, drawn = dock.session.fit, {}
    monkeypatch.setattr(panel.curves, "show_curves", drawn.update)
    fit.curves = {"train_loss": [3.0, 2.0], "validation_loss": [3.5, 2.5], "components": [4.0, 5.0]}
    fit.curves_changed.emit()
    assert list(drawn) == ["misfit", "misfit of scans not learnt from"]
    shown = f"{panel.notes.text()} {panel.form.advanced.epochs.label} {' '.join(drawn)}"
    for term, place in (("loss", panel.curves), ("Epochs", panel.form.advanced.epochs.native)):
        assert term.casefold() not in shown.casefold()
        assert term in place.toolTip()
    assert "train loss 2, validation loss 2.5" in panel.curves.toolTip(), (
        "raw numbers, for those who know them"
    )
    assert "mixture" not in shown and "mixture" in panel.form.scorer.native.toolTip()


def choose_kind(panel, preset):
    """Choose a kind of scan as a user does."""
    box = panel.form.preset.native
    row = panel.form.preset.choices.index(preset)
    box.setCurrentIndex(row)
    box.activated.emit(row)


def test_unevenly_bright_pictures_suggest_that_each_is_scaled_and_five_are_shown(qtbot, dock, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for i, white in enumerate((80, 80, 120, 160, 160, 200, 255, 255)):
        pixels = np.zeros((48, 48), np.uint8)
        pixels[8:40, 8:40] = rng.integers(white // 2, white, (32, 32))
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    panel = open_panel(qtbot, dock, tmp_path)
    qtbot.waitUntil(lambda: len(dock.session.fit.samples) == 8, timeout=TIMEOUT_MS)
    assert panel.form.preset.value == "mr-slices"
    assert "brightest tissue" in panel.guess.text()
    names = [label.toolTip().split(":")[0] for label in panel.found.thumbnails.labels]
    assert names == ["0", "2", "4", "5", "7"]


def test_a_kind_that_may_suit_as_well_is_taken_without_a_warning(qtbot, dock, folder, tmp_path):
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        Image.new("L", (32, 32), 10 * i).save(pictures / f"{i}.png")
    panel = open_panel(qtbot, dock, pictures)
    assert "most files are 2D images" in panel.guess.text()
    choose_kind(panel, "mr-slices")
    assert panel.guess.text() == "", "only its user knows"
    choose_kind(panel, "ct-head")
    assert panel.guess.text().startswith("The scans look like another kind: most files are 2D images"), (
        "at once"
    )
    choose_kind(panel, "mr-slices")
    other = tmp_path / "more"
    pictures.rename(other)
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.folder.value = other
    assert panel.guess.text() == ""
    assert panel.form.preset.value == "mr-slices"


def test_a_folder_of_volumes_and_pictures_is_warned_of_before_the_fit(qtbot, dock, folder, tmp_path):
    import shutil

    from PIL import Image

    mixed = shutil.copytree(folder, tmp_path / "mixed")
    panel = open_panel(qtbot, dock, mixed)
    assert "a model of each kind" not in panel.found.text.text()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    Image.fromarray(pixels).save(mixed / "slice.png")
    panel.folder.value = mixed.parent
    panel.folder.value = mixed
    qtbot.waitUntil(lambda: "2D image" in panel.found.text.text(), timeout=TIMEOUT_MS)
    assert "fit a model of each kind" in panel.found.text.text()


def test_ct_among_mr_is_warned_of_before_the_fit(qtbot, dock, folder, tmp_path):
    import shutil

    mixed = shutil.copytree(folder, tmp_path / "mixed")
    path = sorted(mixed.glob("normal*.nii.gz"))[0]
    image = nib.load(path)
    values = np.where(np.asarray(image.dataobj) > 0, 40, -1000).astype(np.int16)
    nib.save(nib.Nifti1Image(values, image.affine), path)
    panel = open_panel(qtbot, dock, mixed)
    qtbot.waitUntil(lambda: "scans looked at is CT" in panel.guess.text(), timeout=TIMEOUT_MS)
    assert "fit a model of each kind" in panel.guess.text()


def test_a_series_of_ct_among_mr_is_warned_of_unseen(qtbot, dock, tmp_path):
    """Pictures are read of five of the seven."""
    for number in range(7):
        modality = "CT" if number == 1 else "MR"
        save_dicom_head(
            tmp_path / f"{number}",
            number,
            Modality=modality,
            SeriesInstanceUID=f"1.2.{number}",
            SeriesNumber=1,
        )
    panel = open_panel(qtbot, dock, tmp_path)
    qtbot.waitUntil(lambda: bool(panel.guess.text()), timeout=TIMEOUT_MS)
    assert panel.guess.text() == ("By their headers the scans are 6 × MR, 1 × CT: fit a model of each kind.")


def test_the_window_takes_the_height_of_a_small_screen(qtbot, dock, viewer, monkeypatch):
    from qtpy.QtCore import QSize
    from qtpy.QtGui import QScreen

    viewer.show()
    monkeypatch.setattr(QScreen, "availableSize", lambda screen: QSize(1280, 720))
    dock.normal.fit_button.click()
    window = dock.windows.fit
    qtbot.waitUntil(window.isVisible)
    assert window.height() == 648


def test_weights_that_are_missing_are_told_in_one_line(qtbot, dock, folder, notifications):
    panel = open_panel(qtbot, dock, folder)
    panel.form.advanced.weights.value = folder / "none.pth"
    panel.start_button.click()
    assert "none.pth" in panel.report.text.text()
    assert not dock.session.fit.runner.is_running
    panel.form.advanced.weights.value = None
    panel.form.backbone.value = "dinov2_vits14"
    panel.form.advanced.weights.value = folder / "notes.txt"
    fit(qtbot, panel)
    assert panel.report.text.text()
    assert "Traceback" not in panel.report.text.text()
    assert notifications == []


@pytest.mark.parametrize("text", ["", "/", "x" * 300])
def test_name_that_no_model_can_have_is_told_in_one_line(qtbot, dock, folder, notifications, text):
    panel = open_panel(qtbot, dock, folder)
    line = panel.out.line_edit.native
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    qtbot.keyClicks(line, text)
    panel.start_button.click()
    assert panel.report.text.text().startswith("Save as: ")
    assert not dock.session.fit.runner.is_running
    assert notifications == []


@pytest.mark.parametrize("points", [9, 14])
def test_the_window_opens_at_the_folder_with_room_for_each_kind_of_scan(
    qtbot, dock, viewer, monkeypatch, points
):
    viewer.show()
    monkeypatch.setattr(get_settings().appearance, "font_size", points)
    dock.normal.fit_button.click()
    window = dock.windows.fit
    qtbot.waitUntil(window.isVisible)
    box = window.panel.form.preset.native
    assert box.fontInfo().pointSize() >= points
    option = QStyleOptionComboBox()
    box.initStyleOption(option)
    parts = QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField
    room = box.style().subControlRect(*parts, box).width()
    assert box.fontMetrics().horizontalAdvance("MR of the brain (volumes, slices)") < room
    assert window.focusWidget() is window.panel.folder.line_edit.native


@pytest.mark.parametrize("points", [9, 14])
def test_paths_have_the_size_of_letters_that_the_user_prefers(qtbot, dock, viewer, monkeypatch, points):
    """Up to a point more: napari rounds a size up to whole pixels, of its own, too (9.75 for 9, 15 for 14)."""
    viewer.show()
    dock.windows.open_fit()
    dock.windows.open_folder()
    monkeypatch.setattr(get_settings().appearance, "font_size", points)
    fields = dock.windows.fit.panel.folder, dock.windows.fit.panel.out, dock.windows.folder.out
    for field in fields:
        qtbot.waitUntil(
            lambda field=field: points <= field.line_edit.native.fontInfo().pointSizeF() <= points + 1
        )


def test_every_field_has_a_name_for_screen_readers(qtbot, dock, folder):
    panel = open_panel(qtbot, dock, folder)
    # One kind after the other: PySide6 takes no tuple.
    kinds = (QComboBox, QAbstractSpinBox, QLineEdit)
    fields = [field for kind in kinds for field in panel.findChildren(kind)]
    own = [field for field in fields if not isinstance(field.parent(), QAbstractSpinBox)]
    assert {field.accessibleName() for field in own} == {
        "Normal scans", "Series", "Kind of scan", "Method", "Backbone", "Save as",
        "Persons", "Images of a folder", "Weights file", "Plane", "Resolution (0: as usual)",
        "Rounds (0: as usual)", "Device", "Seed",
    }  # fmt: skip
    panel.found.skipped.show_rows("Skipped (1)", [("letter.txt", "no scan")])
    assert panel.found.skipped.tree.accessibleName() == "Skipped (1)"


def test_a_number_that_stands_for_none_says_so(qtbot, dock):
    dock.normal.fit_button.click()
    advanced = dock.windows.fit.panel.form.advanced
    for box in (advanced.resolution_px, advanced.epochs):
        # napari's kind of number field shows no words in place of a number.
        assert box.native.text() == "0"
        assert "0: as usual" in box.label
        assert "0: " in box.tooltip


def test_form_is_frozen_into_settings(qtbot, dock):
    dock.normal.fit_button.click()
    form = dock.windows.fit.panel.form
    form.preset.value = "ct-head"
    form.scorer.value = "ar-cnn"
    form.advanced.resolution_px.value = 128
    form.advanced.plane.value = "coronal"
    form.advanced.epochs.value = 3
    form.advanced.device.value = "cpu"
    settings = form.settings()
    assert settings.preprocessing.preset == "ct-head"
    assert settings.preprocessing.window == (0, 80)
    assert settings.preprocessing.resolution_px == 128
    assert settings.preprocessing.plane == "coronal"
    assert (settings.scorer, settings.epochs, settings.device) == ("ar-cnn", 3, "cpu")
    assert settings.weights is None
    assert "AR-CNN" in form.notes()


def test_fit_panel_as_a_dock_widget_shares_the_session(qtbot, viewer, own_folders):
    _, panel = viewer.window.add_plugin_dock_widget("napari-dinoad", "Fit a model of normal")
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert dock.session is panel.session
    assert session_of(viewer) is dock.session


def test_fit_panel_fits_a_dock_as_wide_as_the_other(qtbot, dock, viewer, folder):
    _, panel = viewer.window.add_plugin_dock_widget("napari-dinoad", "Fit a model of normal")
    panel.folder.value = folder
    qtbot.waitUntil(is_shown(dock, folder), timeout=TIMEOUT_MS)
    look = ScanLook(is_ct=False, lung_share=0.0, field_mm=None, brightness=None)
    samples = [ScanSample(str(i), np.zeros((76, 76), np.uint8), "", look) for i in range(N_THUMBNAILS)]
    panel.found.thumbnails.show_samples(samples)
    content = panel._scroll.widget()
    qtbot.waitUntil(lambda: content.minimumSizeHint().width() <= dock.sizeHint().width())


def test_the_form_does_not_scroll_where_there_is_room_for_it(qtbot, dock, viewer, folder):
    viewer.show()
    panel = open_panel(qtbot, dock, folder)
    dock.windows.fit.resize(502, 900)
    content, seen = panel._scroll.widget(), panel._scroll.viewport()
    qtbot.waitUntil(lambda: panel.estimate.isVisible() and seen.height() > 500)
    needed = content.layout().heightForWidth(content.width())
    dock.windows.fit.resize(502, 900 - seen.height() + needed)
    qtbot.waitUntil(lambda: seen.height() == needed)
    assert panel._scroll.verticalScrollBar().maximum() == 0
    corner = panel.start_button.mapTo(dock.windows.fit, panel.start_button.rect().bottomRight())
    assert dock.windows.fit.childAt(corner) is panel.start_button, "nothing lies over the button"


@pytest.fixture
def looked_into(monkeypatch):
    """Return the folders that are looked into, as they come; one named "endless" is, until it is given up."""
    folders = []
    real = jobs.discover_scans

    def look(folder, reading=None, progress=None):
        folders.append(folder)
        while folder.name == "endless" and not any(folder.iterdir()):
            progress(jobs.ProgressEvent("Looking for scans", 0, 0))
            threading.Event().wait(0.01)
        return real(folder, reading, progress)

    monkeypatch.setattr(jobs, "discover_scans", look)
    return folders


@pytest.fixture
def endless(tmp_path):
    """Return a folder that takes for ever to look into."""
    path = tmp_path / "endless"
    path.mkdir()
    return path


def is_shown(dock, folder):
    """Return what tells whether it is shown what a folder holds."""
    return lambda: dock.session.fit.discovery is not None and dock.session.fit.discovery.folder == folder


@pytest.mark.parametrize("by_return", [False, True])
def test_a_typed_path_is_looked_into_when_it_is_whole(
    qtbot, dock, folder, looked_into, monkeypatch, by_return
):
    monkeypatch.setattr(FileEdit, "_on_choose_clicked", lambda self: pytest.fail("Return opened a window"))
    dock.normal.fit_button.click()
    panel = dock.windows.fit.panel
    line = panel.folder.line_edit.native
    qtbot.keyClicks(line, str(folder))
    assert looked_into == []
    assert not panel.start_button.isEnabled()
    if by_return:
        qtbot.keyClick(line, Qt.Key.Key_Return)
    qtbot.waitUntil(is_shown(dock, folder), timeout=TIMEOUT_MS)
    assert looked_into == [folder]
    assert panel.out.value.stem == folder.name
    assert panel.start_button.isEnabled()
    qtbot.keyClicks(line, "x")
    assert not panel.start_button.isEnabled()
    assert panel.found.text.text() == ""
    qtbot.keyClick(line, Qt.Key.Key_Backspace)
    qtbot.waitUntil(is_shown(dock, folder), timeout=TIMEOUT_MS)


def test_a_look_is_given_up_for_another_folder_or_by_its_cancel(qtbot, dock, folder, endless, looked_into):
    dock.normal.fit_button.click()
    panel = dock.windows.fit.panel
    panel.folder.value = endless
    qtbot.waitUntil(lambda: looked_into == [endless], timeout=TIMEOUT_MS)
    panel.folder.value = folder
    qtbot.waitUntil(is_shown(dock, folder), timeout=TIMEOUT_MS)
    panel.folder.value = endless
    qtbot.waitUntil(lambda: panel.looking.isVisible(), timeout=TIMEOUT_MS)
    panel.looking.cancel_button.click()
    qtbot.waitUntil(lambda: not dock.session.fit.scout.is_running, timeout=TIMEOUT_MS)
    assert "Stopped" in panel.found.text.text()
    assert not panel.start_button.isEnabled()
    assert not panel.looking.isVisible()


def test_a_look_is_left_with_the_window_and_begun_again_with_it(qtbot, dock, folder, endless, looked_into):
    dock.normal.fit_button.click()
    panel = dock.windows.fit.panel
    panel.folder.value = endless
    qtbot.waitUntil(lambda: looked_into == [endless], timeout=TIMEOUT_MS)
    dock.windows.fit.close()
    qtbot.waitUntil(lambda: not dock.session.fit.scout.is_running, timeout=TIMEOUT_MS)
    dock.normal.fit_button.click()
    assert panel.found.text.text() == "Looking into the folder…"
    dock.windows.fit.close()
    shutil.copytree(folder, endless, dirs_exist_ok=True)
    qtbot.waitUntil(lambda: not dock.session.fit.scout.is_running, timeout=TIMEOUT_MS)
    looked_into.clear()
    dock.normal.fit_button.click()
    qtbot.waitUntil(is_shown(dock, endless), timeout=TIMEOUT_MS)
    assert "4 volumes" in panel.found.text.text()
    dock.windows.fit.close()
    dock.normal.fit_button.click()
    assert looked_into == [endless], "what is known is not looked for again"


def test_a_folder_that_does_not_exist_cannot_be_fitted(qtbot, dock, folder):
    panel = open_panel(qtbot, dock, folder)
    for name in ("/no/such/folder", f"/{'x' * 300}", "~nobody/none"):
        panel.folder.value = folder
        panel.folder.value = name
        assert ": no such folder. Choose a folder" in panel.found.text.text()
        qtbot.waitUntil(lambda: not dock.session.fit.scout.is_running, timeout=TIMEOUT_MS)
        assert "Choose a folder" in panel.found.text.text()
        assert not panel.start_button.isEnabled()
    line = panel.folder.line_edit.native
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert panel.found.text.text() == "Choose a folder of normal scans."
    assert not dock.session.fit.scout.is_running


def test_a_look_that_fails_does_not_stand_in_for_the_next_one(qtbot, dock, folder, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.mkdir()
    gate = threading.Event()
    real = jobs.discover_scans

    def look(path, reading=None, progress=None):
        if path == broken:
            assert gate.wait(PATIENCE_S)
            raise ScanReadError(f"{path}: broken.")
        return real(path, reading, progress)

    monkeypatch.setattr(jobs, "discover_scans", look)
    dock.normal.fit_button.click()
    panel = dock.windows.fit.panel
    panel.folder.value = broken
    panel.folder.value = folder
    gate.set()
    qtbot.waitUntil(is_shown(dock, folder), timeout=TIMEOUT_MS)
    assert "4 volumes" in panel.found.text.text()
    assert panel.start_button.isEnabled()
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.folder.value = broken
    assert "broken." in panel.found.text.text()


@pytest.mark.slow
def test_demo_model_scores_the_sample_patient(qtbot, dock, viewer, monkeypatch, fast_settings):
    real = jobs.DemoModelJob.__call__
    quick_job = lambda self, channel: real(replace(self, settings=fast_settings, n_scans=4), channel)  # noqa: E731
    monkeypatch.setattr(jobs.DemoModelJob, "__call__", quick_job)
    with qtbot.waitSignal(dock.session.fit.ended):
        dock.normal.demo_button.click()
    assert dock.normal.model is not None, dock.session.fit.message
    viewer.open_sample("napari-dinoad", "patient")
    with qtbot.waitSignal(dock.finder.runner.finished):
        dock.find.scan_button.click()
    truth = next(layer for layer in viewer.layers if "true lesion" in layer.name)
    assert truth.data.shape == dock.finder.result.values.shape
    assert dock.finder.result.values[truth.data > 0].any()
    assert dock.find.note.text() == ""


def numbered_pictures(folder, sizes=(40, 40, 40)):
    """Write two pictures each of three persons, in folders and under names that tell whose they are."""
    for person, side in zip(("anna", "ben", "carla"), sizes, strict=True):
        (folder / person).mkdir(parents=True)
        for number in (1, 2):
            pixels = np.random.default_rng(number + side).integers(0, 255, (side, 48), np.uint8)
            PIL.Image.fromarray(pixels).save(folder / person / f"{person}_{number:02}.png")
    return folder


def open_another(qtbot, dock):
    panel = FitPanel(dock.session.fit.parent()._viewer(), dock.session)
    qtbot.addWidget(panel)
    return panel


def choose_meant(qtbot, panel, field, value):
    with qtbot.waitSignal(panel.session.fit.discovered, timeout=TIMEOUT_MS):
        field.value = value


@pytest.mark.parametrize("how", ["folder", "name"])
def test_persons_are_grouped_as_the_command_line_does(qtbot, dock, tmp_path, how):
    panel = open_panel(qtbot, dock, numbered_pictures(tmp_path / "normals"))
    assert "6 normal scans lie in 3 folders, and each counts as a person" in panel.found.text.text()
    assert "“More settings”" in panel.found.text.text()
    choose_meant(qtbot, panel, panel.form.advanced.persons, how)
    assert "6 scans of 3 persons" in panel.found.text.text()
    assert panel.form.settings().calibration.persons == how
    dock.windows.fit.close()
    assert open_another(qtbot, dock).form.meant() == panel.form.meant()


def test_pictures_of_a_folder_are_stacked_as_the_command_line_does(qtbot, dock, tmp_path):
    panel = open_panel(qtbot, dock, numbered_pictures(tmp_path / "normals"))
    assert "6 2D images" in panel.found.text.text()
    choose_meant(qtbot, panel, panel.form.advanced.stack_folders, True)
    assert "3 volumes, all 2 × 40 × 48" in panel.found.text.text()
    assert panel.form.settings().reading.stack_folders


def test_a_window_opened_again_looks_into_no_folder_again(qtbot, dock, tmp_path):
    """It did where both were meant otherwise than usual, as it showed one after the other."""
    panel = open_panel(qtbot, dock, numbered_pictures(tmp_path / "normals"))
    choose_meant(qtbot, panel, panel.form.advanced.stack_folders, True)
    choose_meant(qtbot, panel, panel.form.advanced.persons, "folder")
    found = dock.session.fit.discovery
    again = open_another(qtbot, dock)
    assert again.form.meant() == panel.form.meant()
    assert dock.session.fit.discovery is found


def test_a_window_opened_while_a_folder_is_looked_into_shows_how_it_is_meant(qtbot, dock, tmp_path):
    """It showed persons by folders, and would have fitted each scan as a person."""
    panel = open_panel(qtbot, dock, numbered_pictures(tmp_path / "normals"))
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.form.advanced.persons.value = "folder"
        again = open_another(qtbot, dock)
    assert "6 scans of 3 persons" in again.found.text.text()
    assert again.form.settings().calibration.persons == "folder"


@pytest.fixture
def sequences(cohort, tmp_path):
    """Return a folder with a T1 and a T2 of each of two persons, by their names."""
    for number, path in enumerate(sorted(cohort.normal_folder.iterdir())[:4]):
        place = tmp_path / f"sub-{number // 2}"
        place.mkdir(exist_ok=True)
        shutil.copy(path, place / f"sub-{number // 2}_{('T1w', 'T2w')[number % 2]}.nii.gz")
    return tmp_path


def enter_series(qtbot, panel, text):
    field = panel.form.series
    with qtbot.waitSignal(panel.session.fit.discovered, timeout=TIMEOUT_MS):
        field.lineEdit().setText(text)
        field.lineEdit().editingFinished.emit()


def test_one_of_several_series_is_chosen(qtbot, dock, sequences):
    panel = open_panel(qtbot, dock, sequences)
    field = panel.form.series
    assert not field.isHidden()
    assert [field.itemText(i) for i in range(field.count())] == ["all", "T1w (2)", "T2w (2)"]
    assert "Found 4 volumes" in panel.found.text.text()
    qtbot.waitUntil(lambda: "2 × T1, 2 × T2" in panel.guess.text(), timeout=TIMEOUT_MS)
    assert "--series" not in panel.guess.text()
    with qtbot.waitSignal(panel.session.fit.discovered, timeout=TIMEOUT_MS):
        field.setCurrentIndex(1)
        field.activated.emit(1)
    assert "Found 2 volumes" in panel.found.text.text()
    assert panel.form.settings().reading.series == "T1w"
    assert field.currentText() == "T1w (2)" and field.count() == 3
    assert panel.out.value.name == f"{sequences.name}-T1w.dinoad"
    assert open_another(qtbot, dock).form.series.wanted == "T1w"
    enter_series(qtbot, panel, "*t2*")
    assert {scan.name[-3:] for scan in panel.session.fit.discovery.scans} == {"T2w"}
    assert field.currentText() == "*t2*"
    assert panel.out.value.name == f"{sequences.name}-_t2_.dinoad"
    enter_series(qtbot, panel, "")
    assert len(panel.session.fit.discovery.scans) == 4
    assert field.currentText() == "all" and panel.form.settings().reading.series is None


def test_a_series_that_was_typed_just_before_fit_is_pressed_is_taken(qtbot, dock, sequences):
    """Where buttons take no focus, as on macOS, the field is not left."""
    panel = open_panel(qtbot, dock, sequences)
    panel.form.series.lineEdit().setText("*t2*")
    with qtbot.waitSignal(panel.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.start_button.click()
    assert not panel.session.fit.runner.is_running, "what was found was not seen yet"
    assert {scan.name[-3:] for scan in panel.session.fit.discovery.scans} == {"T2w"}


def test_what_is_being_typed_stays_when_a_look_ends(qtbot, dock, sequences):
    panel = open_panel(qtbot, dock, sequences)
    field, line = panel.form.series, panel.form.series.lineEdit()
    line.setFocus()
    line.selectAll()
    # Qt completes it: the rest is selected behind the cursor.
    qtbot.keyClicks(line, "T1")
    completed = line.text(), line.selectedText(), line.cursorPosition()
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.form.advanced.persons.value = "each-scan"
    assert (line.text(), line.selectedText(), line.cursorPosition()) == completed
    qtbot.keyClicks(line, "*")
    assert line.text() == "T1*"
    assert field.wanted is None and field.count() == 3
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.form.advanced.persons.value = "auto"
    assert line.text() == "T1*"
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        qtbot.keyClick(line, Qt.Key.Key_Return)
    assert field.wanted == "T1*" and line.text() == "T1*"


def test_a_series_field_that_was_emptied_says_all(qtbot, dock, sequences):
    field = open_panel(qtbot, dock, sequences).form.series
    field.lineEdit().clear()
    field.lineEdit().editingFinished.emit()
    assert field.wanted is None and field.currentText() == "all"


def test_a_series_is_not_asked_for_where_there_is_one(qtbot, dock, folder, sequences):
    """Nor is that of another folder kept, where nothing would be left."""
    panel = open_panel(qtbot, dock, sequences)
    enter_series(qtbot, panel, "T1w")
    with qtbot.waitSignal(dock.session.fit.discovered, timeout=TIMEOUT_MS):
        panel.folder.value = folder
    assert panel.form.series.isHidden() and panel.form.series.wanted is None
    assert len(dock.session.fit.discovery.scans) > 2
