"""Whether a scan suits a model: what is said before and after finding."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from napari_dinoad.gui.find.result import ScanResult
from napari_dinoad.gui.find.suitability import ScanTraits, misfits, suspicion
from napari_dinoad.gui.models.model_library import ModelSummary
from napari_dinoad.gui.viewer.layer_scan import LayerScan, ScanSource
from napari_dinoad.gui.work.jobs import SlicesScored
from napari_dinoad.images.volume import Geometry, Volume


def model(preset="mr-brain", plane="axial", n_slices=None):
    """Return what is said of a model of 9 scans: pictures by the preset for them, else volumes."""
    n_slices = n_slices or (9 if preset in ("image-2d", "image-colour") else 90)
    return ModelSummary(Path("m.dinoad"), preset, "dpmm", "embedded", 9, n_slices, datetime.now(UTC), plane)


def traits(shape=(160, 200, 180), spacing=(1.0, 1.0, 1.0), lowest=0.0):
    return ScanTraits(shape, spacing, lowest)


def test_scan_like_those_of_the_model_is_no_misfit():
    assert misfits(model(), traits()) == []
    assert misfits(model("ct-head"), traits(lowest=-1000.0)) == []
    assert misfits(model("image-2d", "acquired"), traits((1, 300, 200), None)) == []
    assert misfits(model(), traits(lowest=None)) == []
    assert misfits(model(), traits((30, 200, 180), (2.0, 1.0, 1.0))) == [], "a slab of a head"
    assert misfits(model(plane="sagittal"), traits((40, 200, 60), (4.0, 1.0, 3.0))) == []
    assert misfits(model("oct"), traits((1, 20, 18))) == [], "a slice alone has no size of a head"


@pytest.mark.parametrize("preset", ["oct", "bmad", "image-2d", "image-colour", "mr-slices"])
def test_a_model_of_stacks_of_pictures_suits_a_stack_without_physical_size(preset):
    """B-scans in TIFF, and films, were told that the model is of scans in millimetres, which theirs is not."""
    assert misfits(model(preset, "acquired", n_slices=90), traits((10, 300, 200), None)) == []


def test_a_model_of_pictures_of_mr_is_of_2d_images_though_its_preset_is_that_of_volumes():
    pictures = model(n_slices=9)
    assert misfits(pictures, traits((1, 300, 200), None)) == []
    assert misfits(pictures, traits()) == ["The model is of 2D images, this scan is a volume."]
    assert pictures.describe().startswith("mr-brain · DPMM on embedded · 9 normal images · ")
    assert model().describe().startswith("mr-brain, axial · DPMM on embedded · 9 normal scans · ")
    assert model(plane="all", n_slices=3 * 90).describe().startswith("mr-brain, three planes · ")
    assert misfits(model("oct", "acquired", n_slices=9), traits()) == [], "B-scans of a volume are as good"


@pytest.mark.parametrize(
    ("preset", "plane", "scan", "words"),
    [
        ("mr-brain", "axial", traits(lowest=-1000.0), "looks like CT"),
        ("ct-head", "axial", traits(), "no values of air"),
        ("image-2d", "acquired", traits(), "of 2D images"),
        ("mr-brain", "axial", traits((1, 200, 180)), "single slice"),
        ("mr-brain", "axial", traits(spacing=None), "no physical size"),
        (
            "mr-brain",
            "axial",
            traits((300, 512, 512), (2.0, 0.9, 0.9)),
            "larger than one (461 × 461 × 600 mm)",
        ),
        ("mr-brain", "axial", traits((16, 20, 18)), "smaller than one"),
        ("mr-brain", "axial", traits((256, 256, 24), (0.9, 0.9, 6.0)), "has sagittal ones 6 mm apart"),
    ],
)
def test_misfits_are_named(preset, plane, scan, words):
    (reason,) = misfits(model(preset, plane), scan)
    assert words in reason


@pytest.mark.parametrize(
    ("scan", "width_mm"),
    [(traits((300, 128, 128), (4.0, 4.1, 4.1)), 387.0), (traits((16, 20, 18)), 17.0)],
)
def test_volumes_of_other_parts_are_not_compared_with_heads(scan, width_mm):
    """PET of the whole body is fitted by mr-brain, as all volumes without air of CT are."""
    assert "of heads" in misfits(model(), scan)[0]
    assert misfits(replace(model(), widths_mm=(width_mm,)), scan) == []
    assert "of heads" in misfits(replace(model(), widths_mm=(210.0,)), scan)[0]


def test_traits_are_taken_from_a_layer_without_reading_a_lazy_one():
    dask = pytest.importorskip("dask.array")
    geometry = Geometry((6, 5, 4), np.diag([2.0, 3.0, 4.0, 1.0]))
    values = np.full((4, 5, 6), -1000, np.float32)
    scan = LayerScan(values, ScanSource(geometry, "x"))
    assert ScanTraits.of(scan) == ScanTraits((4, 5, 6), (4.0, 3.0, 2.0), -1000.0)
    lazy = LayerScan(dask.from_array(values), ScanSource(geometry, "x"))
    assert ScanTraits.of(lazy).lowest is None


@pytest.mark.parametrize(("share", "warns"), [(0.05, False), (0.5, True)])
def test_much_beyond_the_rate_is_suspicious(share, warns):
    shape = (10, 10, 10)
    volume = Volume(np.ones(shape, np.float32), Geometry(shape, np.eye(4)))
    result = ScanResult(volume, 0, 0.01)
    assert suspicion(result) == ""
    values = np.full(shape, 0.5, np.float32)
    values.reshape(-1)[: round(share * values.size)] = 2.5
    result.put(SlicesScored(0, tuple(range(10)), values))
    assert ("another kind" in suspicion(result)) == warns


@pytest.mark.parametrize(
    ("channels", "is_coloured"), [([1, 1, 1], False), ([1, 2, 1], True), ([1, 1, 1, 3], False)]
)
def test_a_model_of_grey_and_a_scan_in_colour(channels, is_coloured):
    pixels = np.full((40, 30, len(channels)), channels, np.uint8)
    source = ScanSource(Geometry.of_pixels((40, 30)), "a")
    seen = ScanTraits.of(LayerScan(pixels, source, is_rgb=True))
    assert seen.is_coloured == is_coloured
    told = ["This scan is in colour, which the model sees as grey."] if is_coloured else []
    assert misfits(model("image-2d", "acquired"), seen) == told
    assert misfits(replace(model("image-colour", "acquired"), in_colour=True), seen) == []


def test_heads_in_ct_without_skull_have_no_air_as_the_normal_ones_have_none():
    of_ct = replace(model(), preset="ct-head")
    assert "no values of air" in misfits(of_ct, traits())[0]
    assert misfits(replace(of_ct, reach_air=frozenset({False})), traits()) == []
    assert "no values of air" in misfits(replace(of_ct, reach_air=frozenset({True})), traits())[0]
