"""What pages about one scan have in common."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps.anomaly_map import AnomalyMap, AnomalyMask
from napari_dinoad.maps.pages.page_parts import (
    chosen_slices,
    further_regions,
    pair_of_pictures,
    sides_of,
)
from napari_dinoad.maps.pictures.panels import in_colours, scan_panel

SHAPE = (20, 40, 60)


def volume_of(values, geometry=None):
    return Volume(
        np.float32(values), geometry or Geometry(values.shape[::-1], np.diag([4.0, 4.0, 5.0, 1.0])), "scan"
    )


def pair_of(volume):
    """Return the first pair of pictures of a scan in which nothing is marked, and how wide the page shows it."""
    still = AnomalyMap(np.zeros(volume.values.shape, np.float32), volume)
    loads = [np.arange(n, dtype=float) for n in volume.values.shape]
    view, index, size_px = next(chosen_slices(still, loads, None))
    grey = scan_panel(volume, view, index, size_px, (0.0, 1.0))
    shown = str(pair_of_pictures(grey, Image.fromarray(in_colours(grey)), view, index))
    encoded = re.search(r"base64,([^\"]+)", shown)[1]
    pair = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")
    return np.asarray(pair, dtype=float), int(re.search(r"width=\"(\d+)", shown)[1])


def test_both_pictures_of_a_pair_are_whole_and_lie_side_by_side():
    pixels, _ = pair_of(volume_of(np.random.default_rng(0).random(SHAPE)))
    size = len(pixels)
    scan, marked = pixels[:, :size], pixels[:, -size:]
    assert pixels.shape[1] > 2 * size, "with a gap"
    # On that of the scan alone there are letters besides; JPEG changes the others a little.
    assert (abs(scan - marked) < 40).mean() > 0.95
    assert scan.std() > 20


def test_the_one_slice_of_a_picture_is_shown_larger_than_those_of_a_volume():
    image = np.random.default_rng(0).random((1, 40, 60))
    (pixels, width), (larger, wider) = (
        pair_of(volume_of(np.random.default_rng(0).random(SHAPE))),
        pair_of(volume_of(image, Geometry.of_pixels((40, 60)))),
    )
    assert len(larger) > len(pixels)
    assert wider > width
    assert all(shown < len(of[0]) for shown, of in ((width, pixels), (wider, larger))), "sharp on any screen"


@pytest.mark.parametrize(
    ("n", "told"),
    [
        (-3, []),
        (0, []),
        (1, ["1 further region, smaller, is in the table of regions (CSV)."]),
        (2, ["2 further regions, smaller, are in the table of regions (CSV)."]),
    ],
)
def test_what_is_not_listed_is_told(n, told):
    assert further_regions(n, "smaller") == told


@pytest.mark.parametrize("kind", ["mr", "ct"])
def test_sides_are_told_from_the_middle_of_the_body_not_of_the_scan(kind):
    """In CT bone is so bright that without Hounsfield units it would be all that is taken for the body."""
    _, y, x = np.indices(SHAPE)
    body = np.hypot(y - 20, x - 40) < 14
    bone = np.hypot(y - 20, x - 50) < 3
    values = {"mr": np.where(body, 100.0, 0.0), "ct": np.where(bone, 3000.0, np.where(body, 40.0, -1000.0))}
    volume = volume_of(values[kind] + np.random.default_rng(0).random(SHAPE))
    # To the left of the body's middle, and of the bone; to the right of that of the scan.
    spots = np.zeros(SHAPE, np.float32)
    spots[9:12, 18:21, 33:35] = 5.0
    spots[9:12, 18:21, 45:47] = 4.0
    regions = AnomalyMask.of(AnomalyMap(spots, volume), 0.01, 0.0).regions()
    assert sides_of(volume, regions, {"intensity": "window" if kind == "ct" else "percentiles"}) == {
        1: "left",
        2: "right",
    }
