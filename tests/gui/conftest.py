"""Tests of the napari side. They need a display with OpenGL: run them under ``xvfb-run -a`` where there is none."""

from __future__ import annotations

import os
import sys
import warnings

import pytest

with warnings.catch_warnings():
    # napari and its dependencies warn about each other while they are imported; that is not about this project.
    warnings.simplefilter("ignore")
    import napari
    import napari.layers
    import napari.qt.threading  # noqa: F401

_HAS_DISPLAY = sys.platform in ("darwin", "win32") or any(
    os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that open a viewer where there is no display, with the reason."""
    skip = pytest.mark.skip(reason="needs a display with OpenGL (run under xvfb-run -a)")
    for item in items:
        viewer_fixtures = {"make_napari_viewer", "make_napari_viewer_proxy", "qtbot"}
        if viewer_fixtures & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.viewer)
            if not _HAS_DISPLAY:
                item.add_marker(skip)


@pytest.fixture
def notifications(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Return the errors that napari is asked to show, in place of showing them."""
    from napari.utils.notifications import notification_manager

    shown: list[BaseException] = []
    monkeypatch.setattr(notification_manager, "receive_error", lambda kind, error, trace: shown.append(error))
    return shown
