"""The box of windows names the limits that a scan has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image, Layer

from napari_dinoad.gui.scan.window_box import WindowBox
from napari_dinoad.gui.viewer.ct_windows import AUTOMATIC
from napari_dinoad.gui.viewer.layers import layer_of_volume
from napari_dinoad.images.values.grey import to_grey
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


def test_pictures_in_colour_have_no_windows(box):
    """As the headers of some ultrasound have, of grey values: their colours are shown as stored."""
    colours = np.random.default_rng(0).integers(0, 4096, (1, 32, 32, 3), dtype=np.uint16)
    window = DisplayWindow("Window 1", 0.0, 2048.0)
    volume = Volume(to_grey(colours), Geometry.of_pixels((32, 32)), "us", None, 4095.0, colours=colours)
    layer = Layer.create(*layer_of_volume(replace(volume, display_windows=(window,))))
    assert layer.rgb
    box.follow(layer)
    assert [box.itemText(place) for place in range(box.count())] == []
    assert box.isHidden()


def make_windowed(window, values=None):
    """Return a layer of values, or of a bright disc in faint noise, whose header asks for a window."""
    if values is None:
        rng = np.random.default_rng(0)
        y, x = np.indices((64, 64)) - 32
        disc = np.hypot(y, x) < 20
        values = np.where(disc, rng.normal(500, 100, (4, 64, 64)), rng.exponential(8, (4, 64, 64)))
    volume = Volume(values.astype(np.float32), Geometry((64, 64, 4), np.eye(4)), "mr")
    return Layer.create(*layer_of_volume(replace(volume, display_windows=(window,))))


@pytest.mark.parametrize(("low", "high"), [(-12.5, 82.5), (2000.0, 3000.0)])
def test_a_window_that_shows_nothing_is_offered_but_not_taken(box, low, high):
    """As converted images have it: all white, and all black."""
    layer = make_windowed(DisplayWindow("Window 1", low, high))
    box.follow(layer)
    assert box.currentText() == AUTOMATIC
    shown = layer.contrast_limits
    assert shown[0] < 5
    assert 600 < shown[1] < 1000
    choose(box, "Window 1")
    assert tuple(layer.contrast_limits) == (low, high)


def test_windows_that_leave_much_out_on_purpose_are_taken():
    bright = DisplayWindow("Window 1", 100.0, 450.0)  # two thirds of the disc are white
    assert tuple(make_windowed(bright).contrast_limits) == (100.0, 450.0)
    vessels = np.full((4, 64, 64), 100.0)
    vessels += np.random.default_rng(0).normal(0, 15, vessels.shape)
    vessels[:, 30:32, :20] = 600
    angiography = DisplayWindow("Vessels", 200.0, 700.0)  # a hundredth of the voxels are not black
    assert tuple(make_windowed(angiography, vessels).contrast_limits) == (200.0, 700.0)


def test_ct_windows_are_taken():
    """Of air, a head of water and its skull; and of a field of view that is mostly bone."""
    rng = np.random.default_rng(0)
    y, x = np.indices((64, 64)) - 32
    radius = np.hypot(y, x)
    values = np.where(radius < 12, 35.0, np.where(radius < 13, 1200.0, -1000.0))
    values = values + rng.normal(0, 5, (4, 64, 64))
    for low, high in ((0.0, 80.0), (20.0, 60.0), (-800.0, 2000.0), (-1350.0, 150.0)):
        window = DisplayWindow("Window 1", low, high)
        assert tuple(make_windowed(window, values).contrast_limits) == (low, high)
    bone = rng.normal(900, 100, (4, 64, 64))
    bone[:, :16] = -1000
    assert tuple(make_windowed(DisplayWindow("Brain", 0.0, 80.0), bone).contrast_limits) == (0.0, 80.0)


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
