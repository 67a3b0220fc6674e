"""Preferences that are changed while the dock is open."""

from __future__ import annotations

import pytest
from npe2 import PluginManifest

from dock_driver import TIMEOUT_MS, find, find_planted
from napari_dinoad.gui.configuration import PLUGIN_NAME


@pytest.fixture
def preferences(plugin_settings, npe2pm):
    """Return the plugin's settings as napari's own window changes them."""
    npe2pm.register(PluginManifest.from_distribution(PLUGIN_NAME))
    from napari.settings import get_plugin_settings

    return get_plugin_settings(PLUGIN_NAME).general


@pytest.fixture
def own_folders(preferences, tmp_path):
    """Keep models of this test apart from those of the user; settings already are."""
    preferences.models_folder = str(tmp_path / "user")


def test_the_smallest_region_is_taken_over_at_once_and_when_finding_again(qtbot, preferences, ready):
    find_planted(qtbot, ready)
    result = ready.finder.result
    sizes = sorted(region.volume_mm3 for region in result.regions)
    with qtbot.waitSignal(ready.finder.regions_changed, timeout=TIMEOUT_MS):
        preferences.min_volume_mm3 = sizes[-1] + 1
    qtbot.waitUntil(lambda: result.is_measured, timeout=TIMEOUT_MS)
    assert result.regions == ()
    assert not result.mask.any()
    ready.result.rate.slider.setValue(1.0)
    find(qtbot, ready)
    assert ready.finder.result is result
    assert all(region.volume_mm3 > sizes[-1] for region in result.regions)
    preferences.min_volume_mm3 = 0.0
    qtbot.waitUntil(lambda: len(result.regions) > 1, timeout=TIMEOUT_MS)


def test_device_and_rate_are_taken_over_where_they_were_changed(qtbot, preferences, ready):
    ready.find.devices.setCurrentText("mps")
    preferences.false_positive_rate_percent = 5.0
    assert ready.find.device == "mps"
    preferences.device = "cpu"
    assert ready.find.device == "cpu"
    find(qtbot, ready)
    assert ready.finder.result.fpr == pytest.approx(0.05)
    preferences.false_positive_rate_percent = 0.1
    assert ready.finder.result.fpr == pytest.approx(0.05)
    assert ready._detect_settings().fpr == pytest.approx(0.001)
    ready.result.rate.slider.setValue(2.0)
    assert ready._detect_settings().fpr == pytest.approx(0.01)


def test_a_name_for_masks_by_hand_is_proposed(preferences, ready):
    assert ready._hand_masks.author == ""
    preferences.author = " Dr. Example "
    assert ready._hand_masks.author == "Dr. Example"
    ready._hand_masks.author = "Dr. Other"
    preferences.device = "cpu"
    assert ready._hand_masks.author == "Dr. Other", "as was named last"
