"""Settings that cannot be used, as damaged files hold them, keep the plugin from nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_dinoad.gui import configuration
from napari_dinoad.gui.configuration import read_configuration


@pytest.fixture
def warnings_shown(monkeypatch):
    """Return the warnings that napari is asked to show, in place of showing them."""
    shown = []
    monkeypatch.setattr("napari.utils.notifications.show_warning", shown.append)
    monkeypatch.setattr(configuration, "_told", set())
    return shown


@pytest.mark.parametrize(
    "error", [AssertionError("hello"), ValueError("bad"), OSError(5, "Input/output error")]
)
def test_settings_that_napari_cannot_read_are_the_defaults(monkeypatch, warnings_shown, error):
    def refuse(plugin):
        raise error

    monkeypatch.setattr("napari.settings.get_plugin_settings", refuse, raising=False)
    assert read_configuration().fpr == 0.01
    assert read_configuration().device == "auto"
    assert len(warnings_shown) == 1, "told once"
    assert "the usual ones of DINOAD are used. Remove the damaged file" in warnings_shown[0]


@pytest.mark.parametrize("name", ["models_folder", "weights_folder"])
@pytest.mark.parametrize("text", ["~nobody-of-this-name/x", "a\0b", "x" * 5000])
def test_a_folder_that_no_folder_can_be_is_told_and_the_usual_one_used(
    monkeypatch, warnings_shown, name, text
):
    usual = read_configuration()
    monkeypatch.setattr(configuration, "_general_settings", lambda: SimpleNamespace(**{name: text}))
    assert read_configuration() == usual
    assert len(warnings_shown) == 1
    assert "cannot be used" in warnings_shown[0]
    assert len(warnings_shown[0]) < 300


def test_a_folder_that_is_not_there_yet_is_taken(monkeypatch, warnings_shown, tmp_path):
    folder = tmp_path / "later" / "models"
    monkeypatch.setattr(
        configuration, "_general_settings", lambda: SimpleNamespace(models_folder=str(folder))
    )
    assert read_configuration().model_folder == folder
    assert warnings_shown == []


def test_a_smallest_region_without_end_is_none(monkeypatch):
    general = SimpleNamespace(min_volume_mm3=float("inf"))
    monkeypatch.setattr(configuration, "_general_settings", lambda: general)
    assert read_configuration().min_volume_mm3 == 0.0
