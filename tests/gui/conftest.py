"""Tests of the napari side. They need a display with OpenGL: run them under ``xvfb-run -a`` where there is none."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import warnings
from functools import partialmethod

import pytest
from pytestqt.qtbot import QtBot

from patience import PATIENCE_S, TIMEOUT_MS

# Once a window was drawn, Mesa's drivers lend their LLVM to the Triton that timm loads later, and that ends the run.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

with warnings.catch_warnings():
    # napari and its dependencies warn about each other while they are imported; that is not about this project.
    warnings.simplefilter("ignore")
    import napari
    import napari.layers
    import napari.qt.threading
    import napari.settings

_HAS_DISPLAY = sys.platform in ("darwin", "win32") or any(
    os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that open a viewer where there is no display, with the reason."""
    # napari's own, when its first labels layer draws its random colours.
    clipped = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
    skip = pytest.mark.skip(reason="needs a display with OpenGL (run under xvfb-run -a)")
    for item in items:
        viewer_fixtures = {"make_napari_viewer", "make_napari_viewer_proxy", "qtbot"}
        if viewer_fixtures & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.viewer)
            item.add_marker(clipped)
            if not _HAS_DISPLAY:
                item.add_marker(skip)


if not hasattr(napari.settings, "get_plugin_settings"):

    @pytest.fixture
    def plugin_settings() -> None:
        """Skip a test of settings that napari does not have yet; later versions bring the fixture."""
        pytest.skip("napari before 0.9 has no settings of plugins")


MANY_OBJECTS = 50_000
"""Of those that a search for garbage looks at; to look at so many takes 10 ms."""


def pytest_runtest_logfinish() -> None:
    """Leave what tests have loaded out of all searches for garbage, of which napari makes several a test."""
    if len(gc.get_objects()) > MANY_OBJECTS:
        gc.collect()
        gc.freeze()


class PatientBot(QtBot):
    """Waits as long as all tests do; pytest-qt's own gives up after five seconds."""

    waitUntil = partialmethod(QtBot.waitUntil, timeout=TIMEOUT_MS)
    waitSignal = partialmethod(QtBot.waitSignal, timeout=TIMEOUT_MS)
    waitExposed = partialmethod(QtBot.waitExposed, timeout=TIMEOUT_MS)


@pytest.fixture
def qtbot(qapp, request):
    """Return pytest-qt's robot, with more patience."""
    return PatientBot(request)


@pytest.fixture
def notifications(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Return the errors that napari is asked to show, in place of showing them."""
    from napari.utils.notifications import notification_manager

    shown: list[BaseException] = []
    monkeypatch.setattr(notification_manager, "receive_error", lambda kind, error, trace: shown.append(error))
    return shown


@pytest.fixture(scope="session", autouse=True)
def plugins_found_once():
    """Look for plugins in all installed packages once, and not for each viewer."""
    from npe2 import PluginManifest

    found = list(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(found))
        yield


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Return a small phantom cohort on disk."""
    from napari_dinoad.phantom import write_cohort

    return write_cohort(tmp_path_factory.mktemp("cohort"), 4, ("bright",), shape=(20, 64, 56))


@pytest.fixture(scope="session")
def fast_settings():
    """Return settings with which a fit takes a second."""
    from dataclasses import replace

    from napari_dinoad.settings import FitSettings, MemoryBankSettings, preset

    return FitSettings(
        scorer="memory-bank",
        memory_bank=MemoryBankSettings(n_patches=400),
        preprocessing=replace(preset("mr-brain"), resolution_px=64),
        device="cpu",
    )


@pytest.fixture(scope="session")
def model_path(cohort, fast_settings, tmp_path_factory):
    """Return a model fitted on the cohort, as a file."""
    from napari_dinoad.pipeline import fit_folder

    path = tmp_path_factory.mktemp("model") / "phantom.dinoad"
    fit_folder(cohort.normal_folder, fast_settings).save(path)
    return path


@pytest.fixture
def own_folders(monkeypatch, tmp_path):
    """Keep models and settings of this test apart from those of the user."""
    from napari_dinoad.gui import configuration

    monkeypatch.setattr(configuration, "_general_settings", lambda: None)
    monkeypatch.setattr(configuration, "user_data_path", lambda *args, **kwargs: tmp_path / "user")


@pytest.fixture
def viewer(make_napari_viewer, own_folders):
    """Return a real viewer."""
    return make_napari_viewer()


@pytest.fixture
def dock(viewer, qtbot):
    """Return the plugin's dock widget in a real viewer; its jobs have ended when the test has."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    yield widget
    runners = (
        widget.finder.runner,
        widget.finder.preparation.runner,
        widget.opener.runner,
        widget.session.fit.runner,
        widget.result.exporter,
    )
    for runner in runners:
        runner.cancel()
    qtbot.waitUntil(lambda: not any(runner.is_running for runner in runners), timeout=TIMEOUT_MS)


@pytest.fixture
def patient(cohort):
    """Return the file of a patient of the cohort."""
    return cohort.patients["bright"]


@pytest.fixture
def ready(dock, viewer, patient, model_path):
    """Return the dock with a patient's scan and a model chosen."""
    viewer.open(str(patient), plugin="napari-dinoad")
    dock.normal.choose(model_path)
    return dock


@pytest.fixture
def gate(monkeypatch):
    """Hold the worker after each batch of slices until the gate is opened."""
    from napari_dinoad.gui.work import processes
    from napari_dinoad.gui.work.jobs import SlicesScored

    gate = threading.Event()
    pass_on = processes._pass_on

    def pass_on_and_wait(answer, channel):
        goes_on = pass_on(answer, channel)
        if isinstance(answer.content, SlicesScored):
            assert gate.wait(PATIENCE_S)
        return goes_on and not channel.is_stopping()

    monkeypatch.setattr(processes, "_pass_on", pass_on_and_wait)
    return gate


@pytest.fixture(scope="session", autouse=True)
def worker_processes():
    """End the worker processes with the tests."""
    from napari_dinoad.gui.work.processes import pool

    yield
    pool.close()
