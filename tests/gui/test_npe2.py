"""The manifest against the installed napari: readers, writers, samples, menus, settings, imports."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from npe2 import PluginManifest
from npe2 import plugin_manager as installed_plugins

from napari_dinoad.gui.configuration import PLUGIN_NAME, read_configuration


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution(PLUGIN_NAME)


def test_catalogues_of_plugins_know_what_it_is_for(manifest):
    assert {category.value for category in manifest.categories} >= {"Segmentation", "Image Processing"}


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_menus_are_open_to_plugins(manifest):
    from napari._app_model.constants._menus import is_menu_contributable

    assert manifest.contributions.menus
    for menu in manifest.contributions.menus:
        assert is_menu_contributable(menu), menu


def test_menu_items_are_there(viewer):
    from napari._app_model import get_app_model

    menus = get_app_model().menus
    for menu, command in (
        ("napari/layers/segment", "napari-dinoad.find"),
        ("napari/layers/segment", "napari-dinoad.fit"),
        ("napari/file/io_utilities", "napari-dinoad.open_study"),
    ):
        items = {item.command.id for item in menus.get_menu(menu) if hasattr(item, "command")}
        assert command in items


@pytest.mark.parametrize("has_dock", [True, False])
def test_a_model_that_is_dropped_on_the_canvas_is_chosen(viewer, model_path, has_dock):
    if has_dock:
        viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert not viewer.open(str(model_path), plugin="napari-dinoad")
    (dock,) = viewer.window.dock_widgets.values()
    assert dock.normal.model.path == model_path


@pytest.mark.parametrize("opened_by", ["menu", "script", None])
def test_open_study_command_asks_for_files_in_the_one_dock(viewer, monkeypatch, opened_by):
    from napari._app_model import get_app_model

    from napari_dinoad.gui.scan import scan_step

    asked = []
    monkeypatch.setattr(
        scan_step.QFileDialog, "getOpenFileNames", lambda *args, **kwargs: asked.append(args) or ([], "")
    )
    commands = get_app_model().commands
    if opened_by == "menu":
        commands.execute_command("napari-dinoad.find").result()
    elif opened_by == "script":
        viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Find anomalies")
    for dock in viewer.window.dock_widgets.values():
        dock.parent().hide()
    commands.execute_command("napari-dinoad.open_study").result()
    assert asked
    (dock,) = viewer.window.dock_widgets.values()
    assert not dock.parent().isHidden()
    if opened_by is None:
        commands.execute_command("napari-dinoad.find").result()
        assert len(viewer.window.dock_widgets) == 1, "the menu's entry is of this dock"


@pytest.mark.parametrize("sample", ["normal", "patient", "slice"])
def test_samples_open(viewer, sample):
    layers = viewer.open_sample(PLUGIN_NAME, sample)
    scan = layers[-1]
    unit = "pixel" if sample == "slice" else "millimeter"
    assert all(str(u) == unit for u in scan.units)
    assert len(layers) == (1 if sample == "normal" else 2)
    if len(layers) == 2:
        truth = layers[0]
        assert truth.data.any()
        assert not truth.visible
        index = np.argwhere(truth.data)[0]
        np.testing.assert_allclose(truth.data_to_world(index), scan.data_to_world(index))


def test_viewer_opens_and_saves_nifti_on_the_same_grid(viewer, tmp_path):
    affine = np.array([[0, 0, -2.0, 5], [1.0, 0, 0, -3], [0, -1.0, 0, 8], [0, 0, 0, 1]])
    data = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "scan.nii.gz")
    (layer,) = viewer.open(str(tmp_path / "scan.nii.gz"), plugin=PLUGIN_NAME)
    out = tmp_path / "out.nii.gz"
    assert viewer.layers.save(str(out), plugin=PLUGIN_NAME) == [str(out)]
    image = nib.load(out)
    assert np.array_equal(image.affine, affine)
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    labels = viewer.add_labels(np.asarray(layer.data > 50).astype(int), metadata=layer.metadata)
    viewer.layers.selection = {labels}
    assert viewer.layers.save(str(out), selected=True, plugin=PLUGIN_NAME) == [str(out)]
    np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj), data > 50)


def test_writers_are_offered_for_the_save_dialog():
    installed_plugins.discover()
    for kind in ("image", "labels"):
        writers = [
            w for w in installed_plugins.iter_compatible_writers([kind]) if w.plugin_name == PLUGIN_NAME
        ]
        assert writers
        assert writers[0].filename_extensions == [".nii.gz", ".nii"]


def test_settings_have_defaults_and_can_be_changed(plugin_settings, npe2pm, manifest, tmp_path):
    if PLUGIN_NAME not in npe2pm:
        npe2pm.register(manifest)
    from napari.settings import get_plugin_settings

    before = read_configuration()
    assert before.fpr == 0.01
    assert before.device == "auto"
    assert before.model_folder.name == "models"
    general = get_plugin_settings(PLUGIN_NAME).general
    general.models_folder = str(tmp_path / "mine")
    general.false_positive_rate_percent = 0.1
    general.device = "cpu"
    after = read_configuration()
    assert after.model_folder == tmp_path / "mine"
    assert after.fpr == pytest.approx(0.001)
    assert after.device == "cpu"


def test_settings_of_a_plugin_that_is_not_registered_are_the_defaults(plugin_settings, npe2pm):
    assert read_configuration().fpr == 0.01


def test_settings_are_the_defaults_where_napari_has_none(monkeypatch):
    """As before 0.9."""
    monkeypatch.delattr("napari.settings.get_plugin_settings", raising=False)
    assert read_configuration().fpr == 0.01


def test_no_module_of_the_window_loads_torch():
    code = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("ignore")
import napari_dinoad.gui as package
for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
    heavy = {"torch", "timm", "sklearn"} & set(sys.modules)
    assert not heavy, f"{module.name} imports {heavy}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_dock_opens_without_the_libraries_that_it_needs_later():
    code = """
import sys, warnings
warnings.simplefilter("ignore")
import napari.layers, napari.qt.threading
before = set(sys.modules)
import napari_dinoad.gui.dock_widget
heavy = {"nibabel", "pydicom", "scipy.ndimage", "skimage", "PIL.ImageFont"} & (set(sys.modules) - before)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_validate_command_is_clean():
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", PLUGIN_NAME, "--imports"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout
