"""The box of windows names the limits that a scan has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image, Layer

from napari_dinoad.gui.ct_windows import AUTOMATIC
from napari_dinoad.gui.layers import layer_of_volume
from napari_dinoad.gui.window_box import WindowBox
from napari_dinoad.images.volume import DisplayWindow, Geometry, Volume


def make_layer(*windows):
    """Return a layer of a CT scan whose header asks for these windows."""
    values = np.random.default_rng(0).integers(-1000, 2000, (4, 32, 32)).astype(np.float32)
    volume = Volume(values, Geometry((32, 32, 4), np.eye(4)), "ct")
    return Layer.create(*layer_of_volume(replace(volume, display_windows=windows)))


@pytest.fixture
def box(qtbot):
    box = WindowBox()
    qtbot.addWidget(box)
    return box


def choose(box, name):
    """Choose as a user does."""
    box.setCurrentIndex(box.findText(name))
    box.textActivated.emit(name)


def test_the_window_of_the_header_is_named_first(box):
    box.follow(make_layer(DisplayWindow("Angio", 100.0, 700.0)))
    assert box.currentText() == "Angio"
    box.follow(make_layer())
    assert box.currentText() == AUTOMATIC


def test_a_chosen_window_is_named_when_the_scan_comes_back(box):
    first, second = make_layer(), make_layer()
    box.follow(first)
    choose(box, "Bone")
    assert tuple(first.contrast_limits) == (-800.0, 2000.0)
    box.follow(second)
    assert box.currentText() == AUTOMATIC
    box.follow(first)
    assert box.currentText() == "Bone"
    choose(box, AUTOMATIC)
    assert box.currentText() == AUTOMATIC
    choose(box, "Bone")
    assert tuple(second.contrast_limits) != tuple(first.contrast_limits)


def test_of_two_windows_alike_the_chosen_one_stays_named(box):
    layer = make_layer(DisplayWindow("Window 1", 0.0, 80.0))
    box.follow(layer)
    assert box.currentText() == "Window 1"
    choose(box, "Brain")
    assert box.currentText() == "Brain"
    box.follow(layer)
    assert box.currentText() == "Brain"


def test_limits_set_otherwise_have_no_name(box):
    layer = make_layer()
    box.follow(layer)
    layer.contrast_limits = (-3.0, 17.0)
    assert box.currentText() == ""
    assert box.placeholderText()
    layer.contrast_limits = (0.0, 80.0)
    assert box.currentText() == "Brain"
    box.follow(make_layer())
    layer.contrast_limits = (-3.0, 17.0)
    assert box.currentText() == AUTOMATIC


def test_scans_without_windows_have_no_box(box):
    box.follow(make_layer())
    assert not box.isHidden()
    box.follow(Image(np.random.default_rng(0).random((4, 8, 8))))
    assert box.isHidden()
    box.follow(None)
    assert box.isHidden()
