"""B-scans in single files: the windows of napari take them for slices of one scan, as the command line does."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dock_driver import TIMEOUT_MS, click, find
from napari_dinoad.cli.main import main
from napari_dinoad.gui.reader import read_layers
from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY
from napari_dinoad.settings import ReadSettings, preset

N_SLICES = 11
"""So that by their letters the tenth would come before the second."""


def write_eye(folder, seed, shape=(40, 48)):
    """Write B-scans, of which each is brighter than the one before."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(N_SLICES):
        pixels = rng.integers(0, 90, shape) + 12 * number
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"b{number}.png")
    return folder


@pytest.fixture(scope="module")
def eye_model(fast_settings, tmp_path_factory):
    """Return a model of folders that are a scan each, as a file."""
    from napari_dinoad.pipeline import fit_folder

    folder = tmp_path_factory.mktemp("eyes")
    for number in range(4):
        write_eye(folder / f"sub-{number}", number)
    settings = replace(
        fast_settings,
        preprocessing=replace(preset("oct"), resolution_px=64),
        reading=ReadSettings(stack_folders=True),
    )
    path = folder / "oct.dinoad"
    fit_folder(folder, settings).save(path)
    return path


@pytest.fixture
def eyes(tmp_path):
    """Return a folder with the B-scans of two eyes."""
    folder = tmp_path / "patients"
    write_eye(folder / "left", 10)
    write_eye(folder / "right", 11)
    return folder


@pytest.fixture
def scored(eyes, eye_model, tmp_path):
    """Return the folder into which the command line has scored both eyes."""
    out = tmp_path / "by_command_line"
    given = ["--model", str(eye_model), "--out", str(out), "--save", "map,report", "--device", "cpu"]
    assert main(["score", str(eyes), "--stack-folders", *given]) == 0
    return out


def values_of(out, name):
    """Return the canonical values of a map that was written."""
    ((values, _, _),) = read_layers(out / f"{name}_anomaly.nii.gz")
    return values


def ask(qtbot, dock, folder):
    """Open a folder, and return the window that asks which of its scans are meant."""
    dock.open_files((folder,))
    qtbot.waitUntil(lambda: dock.windows.chooser is not None, timeout=TIMEOUT_MS)
    return dock.windows.chooser


def rows_of(chooser):
    return [chooser.list.topLevelItem(row) for row in range(chooser.list.topLevelItemCount())]


def open_chosen(qtbot, dock, chooser):
    click(qtbot, chooser.buttons.button(chooser.buttons.StandardButton.Open))
    qtbot.waitUntil(lambda: not dock.opener.is_busy, timeout=TIMEOUT_MS)


def test_a_folder_is_scored_as_by_the_command_line(qtbot, dock, eyes, eye_model, scored, tmp_path):
    dock.normal.choose(eye_model)
    dock.windows.open_folder()
    dialog = dock.windows.folder
    out = tmp_path / "results"
    dialog.folder.value, dialog.out.value = eyes, out
    dialog.stack_folders.value = True
    with qtbot.waitSignal(dialog.runner.finished, timeout=TIMEOUT_MS):
        click(qtbot, dialog.start_button)
    assert dialog.note.text() == "2 scans scored."
    for name in ("left", "right"):
        np.testing.assert_array_equal(values_of(out, name), values_of(scored, name))
    assert "replaced" not in dialog.about.text()
    dialog.stack_folders.value = False
    assert "will be replaced" in dialog.about.text(), "other scans than those that were scored here"


def test_an_opened_folder_is_found_in_as_by_the_command_line(qtbot, dock, viewer, eyes, eye_model, scored):
    chooser = ask(qtbot, dock, eyes)
    assert chooser.stack_folders.native.isVisible()
    assert [item.text(1) for item in rows_of(chooser)] == ["2D image"] * 2 * N_SLICES
    chooser.stack_folders.value = True
    assert [[item.text(column) for column in range(3)] for item in rows_of(chooser)] == [
        [name, f"{N_SLICES} images", f"{N_SLICES} × 40 × 48"] for name in ("left", "right")
    ]
    assert [scan.name for scan in chooser.chosen()] == ["left"]
    open_chosen(qtbot, dock, chooser)
    (layer,) = viewer.layers
    assert layer.name == "left" and layer.data.shape == (N_SLICES, 40, 48)
    assert viewer.dims.axis_labels == ("z", "y", "x"), "beside the slider, where “-3” stood"
    assert f"{N_SLICES} images of a folder are the slices of this scan." in dock.scan.assumed.text()
    means = layer.data.mean(axis=(1, 2))
    assert np.all(np.diff(means) > 0), "in the order of the numbers in the names"
    dock.normal.choose(eye_model)
    find(qtbot, dock)
    np.testing.assert_array_equal(dock.finder.result.values, values_of(scored, "left"))
    report = json.loads((scored / "left_report.json").read_text())
    assert dock.finder.result.outcome.p_value == report["p_value"]


def test_images_of_other_sizes_are_a_stack_of_their_own_name(qtbot, dock, viewer, tmp_path):
    folder = write_eye(tmp_path / "eye", 0)
    write_eye(tmp_path / "other", 1, (32, 48))
    for path in (tmp_path / "other").iterdir():
        path.rename(folder / f"other_{path.name}")
    chooser = ask(qtbot, dock, folder)
    chooser.stack_folders.value = True
    assert [item.text(0) for item in rows_of(chooser)] == ["eye_32x48", "eye_40x48"]
    chooser.list.selectAll()
    open_chosen(qtbot, dock, chooser)
    assert [layer.metadata[METADATA_KEY].name for layer in viewer.layers] == ["eye_32x48", "eye_40x48"]


def test_what_has_changed_its_size_meanwhile_is_refused_with_the_reason(qtbot, dock, viewer, tmp_path):
    folder = write_eye(tmp_path / "eye", 0)
    chooser = ask(qtbot, dock, folder)
    chooser.stack_folders.value = True
    Image.fromarray(np.eye(30, 48, dtype=np.uint8)).save(folder / "b3.png")
    open_chosen(qtbot, dock, chooser)
    assert "expected slices of one size, got 30 × 48, 40 × 48 pixels" in dock.scan.fault.text()
    assert not viewer.layers


def test_a_single_image_of_a_folder_can_be_chosen_as_before(qtbot, dock, viewer, eyes):
    chooser = ask(qtbot, dock, eyes)
    chooser.stack_folders.value = True
    chooser.stack_folders.value = False
    assert [scan.path.name for scan in chooser.chosen()] == ["b0.png"]
    open_chosen(qtbot, dock, chooser)
    assert [layer.data.shape for layer in viewer.layers] == [(40, 48)]


def test_of_one_eye_there_is_nothing_to_choose(qtbot, dock, tmp_path):
    chooser = ask(qtbot, dock, write_eye(tmp_path / "eye", 0))
    assert chooser.found_label.text().endswith("were found. Choose one, or several with Ctrl.")
    chooser.stack_folders.value = True
    assert chooser.found_label.text() == "1 scan was found."
    assert [scan.name for scan in chooser.chosen()] == ["eye"]


def test_where_nothing_can_be_stacked_it_is_not_asked(qtbot, dock, cohort):
    assert not ask(qtbot, dock, cohort.normal_folder).stack_folders.native.isVisible()


def test_what_the_model_was_fitted_on_is_proposed(qtbot, dock, viewer, eyes, eye_model, model_path):
    dock.windows.open_folder()
    dialog = dock.windows.folder
    assert dialog.stack_folders.value is False
    dock.normal.choose(eye_model)
    assert dialog.stack_folders.value is True
    chooser = ask(qtbot, dock, eyes)
    assert [item.text(0) for item in rows_of(chooser)] == ["left", "right"]
    dock.normal.choose(model_path)
    assert dialog.stack_folders.value is False


def test_what_was_chosen_beside_a_model_is_remembered(qtbot, dock, eyes, eye_model, model_path):
    dock.normal.choose(eye_model)
    chooser = ask(qtbot, dock, eyes)
    chooser.stack_folders.value = False
    chooser.reject()
    dock.windows.chooser = None
    assert ask(qtbot, dock, eyes).stack_folders.value is False
    dock.windows.open_folder()
    dialog = dock.windows.folder
    assert dialog.stack_folders.value is False
    dialog.stack_folders.value = True
    dock.normal.choose(model_path)
    assert dialog.stack_folders.value is False
    dialog.stack_folders.value = True
    dialog.stack_folders.value = False
    dock.normal.choose(eye_model)
    assert dialog.stack_folders.value is True


def test_pictures_that_are_named_are_slices_for_a_model_of_such(qtbot, dock, viewer, eyes, eye_model):
    dock.normal.choose(eye_model)
    dock.open_files(tuple((eyes / "left").glob("b[0-3].png")))
    qtbot.waitUntil(lambda: dock.windows.chooser is not None, timeout=TIMEOUT_MS)
    chooser = dock.windows.chooser
    assert [[item.text(column) for column in range(3)] for item in rows_of(chooser)] == [
        ["left", "4 images", "4 × 40 × 48"]
    ]
    chooser.stack_folders.value = False
    assert [item.text(2) for item in rows_of(chooser)] == ["40 × 48"] * 4
    chooser.stack_folders.value = True
    open_chosen(qtbot, dock, chooser)
    assert [layer.data.shape for layer in viewer.layers] == [(4, 40, 48)]


def test_pictures_that_are_no_stack_are_opened_without_a_question(qtbot, dock, viewer, eyes, eye_model):
    paths = (eyes / "left" / "b0.png", eyes / "right" / "b0.png")
    dock.normal.choose(eye_model)
    dock.open_files(paths)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and not dock.opener.is_busy, timeout=TIMEOUT_MS)
    assert dock.windows.chooser is None


def test_pictures_that_are_named_are_scans_for_other_models(qtbot, dock, viewer, eyes, model_path):
    dock.normal.choose(model_path)
    dock.open_files(tuple((eyes / "left").glob("b[0-3].png")))
    qtbot.waitUntil(lambda: len(viewer.layers) == 4 and not dock.opener.is_busy, timeout=TIMEOUT_MS)
    assert dock.windows.chooser is None


def test_that_the_normal_scans_were_read_otherwise_is_told(dock, eyes, eye_model, model_path, tmp_path):
    dock.normal.choose(eye_model)
    dock.windows.open_folder()
    dialog = dock.windows.folder
    dialog.folder.value, dialog.out.value = eyes, tmp_path / "results"
    told = "the images of a folder were slices of one scan"
    assert told not in dialog.about.text()
    dialog.stack_folders.value = False
    assert told in dialog.about.text() and dialog.start_button.isEnabled()
    dock.normal.choose(model_path)
    dialog.stack_folders.value = True
    assert "normal scans were" not in dialog.about.text(), "of volumes it says nothing"


@pytest.mark.parametrize(("options", "is_told"), [((), True), (("--stack-folders",), False)], ids=str)
def test_the_command_line_tells_it_too(eyes, eye_model, tmp_path, capsys, options, is_told):
    given = [
        "--model",
        str(eye_model),
        "--out",
        str(tmp_path / "out"),
        "--save",
        "regions",
        "--device",
        "cpu",
    ]
    assert main(["score", str(eyes), *options, *given]) == 0
    assert ("--stack-folders reads them as there" in capsys.readouterr().err) == is_told


def test_the_command_line_does_not_tell_it_of_what_makes_no_stack(eyes, eye_model, tmp_path, capsys):
    for image in sorted((eyes / "left").iterdir())[1:]:
        image.unlink()
    out = str(tmp_path / "out")
    given = ["--model", str(eye_model), "--out", out, "--save", "regions", "--device", "cpu"]
    assert main(["score", str(eyes / "left"), *given]) == 0
    assert "--stack-folders" not in capsys.readouterr().err
