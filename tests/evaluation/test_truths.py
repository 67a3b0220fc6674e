"""Mask files as programs write them; the picture that a viewer shows is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ExifTags, Image

from napari_dinoad.evaluation.benchmark import evaluate_dataset
from napari_dinoad.evaluation.datasets import find_dataset
from napari_dinoad.evaluation.truths import at_protocol, read_truth, truth_notes
from napari_dinoad.images.readers import read_volume
from napari_dinoad.settings import EvaluationSettings

SHAPE = (60, 50)

LESION = np.zeros(SHAPE, bool)
LESION[11:26, 14:33] = True

OPAQUE = Image.new("L", SHAPE[::-1], 255)


@pytest.fixture
def scan(tmp_path):
    """A picture to which the masks belong."""
    path = tmp_path / "scan.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)).save(path)
    return read_volume(path)


def shown(marked):
    """White where marked, else black."""
    return Image.fromarray(np.uint8(255) * marked).convert("RGB")


def two_colours(marked, palette, index):
    """A palette picture, marked pixels at one index of two."""
    picture = Image.fromarray(np.where(marked, index, 1 - index).astype(np.uint8))
    picture.putpalette(palette)
    return picture


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("quantised.png", lambda marked: shown(marked).quantize(2)),
        ("adaptive.png", lambda marked: shown(marked).convert("P", palette=Image.Palette.ADAPTIVE)),
        ("white_first.bmp", lambda marked: two_colours(marked, [255, 255, 255, 0, 0, 0], 0)),
        ("red_second.png", lambda marked: two_colours(marked, [0, 0, 0, 255, 0, 0], 1)),
        ("blue_first.tif", lambda marked: two_colours(marked, [0, 0, 255, 0, 0, 0], 0)),
        ("cmyk.tif", lambda marked: shown(marked).convert("CMYK")),
        ("bits.png", lambda marked: Image.fromarray(marked)),
        ("faint_blue.png", lambda marked: Image.fromarray(np.dstack([0 * marked, 0 * marked, marked]).astype("u1"))),
        ("sixteen.png", lambda marked: Image.fromarray(marked.astype(np.uint16))),
        ("alpha.png", lambda marked: Image.merge("RGBA", [*shown(marked).split(), OPAQUE])),
        ("grey_alpha.png", lambda marked: Image.merge("LA", [shown(marked).convert("L"), OPAQUE])),
        ("float.tif", lambda marked: Image.fromarray(marked.astype(np.float32))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("marked", [LESION, np.zeros(SHAPE, bool)], ids=["lesion", "nothing"])
def test_what_is_shown_bright_is_marked(tmp_path, scan, name, picture, marked):
    picture(marked).save(tmp_path / name)
    np.testing.assert_array_equal(read_truth(tmp_path / name, scan)[0], marked)
    assert truth_notes(tmp_path / name, marked) == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("marked", [LESION, np.zeros(SHAPE, bool)], ids=["lesion", "nothing"])
def test_low_values_that_are_white_are_marked(tmp_path, scan, dtype, marked):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.where(marked, 0, np.iinfo(dtype).max).astype(dtype)
    tifffile.imwrite(tmp_path / "mask.tif", pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read_truth(tmp_path / "mask.tif", scan)[0], marked)


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_indices_without_a_palette_are_what_they_are(tmp_path, scan, name):
    picture = Image.new("P", SHAPE[::-1])
    picture.frombytes(LESION.astype(np.uint8).tobytes())
    picture.save(tmp_path / name)
    np.testing.assert_array_equal(read_truth(tmp_path / name, scan)[0], LESION)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_palette_tiff_to_be_shown_turned_is_read_as_stored(tmp_path, scan, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    shown(LESION).quantize(2).save(tmp_path / "mask.tif", exif=exif)
    np.testing.assert_array_equal(read_truth(tmp_path / "mask.tif", scan)[0], LESION)


@pytest.mark.parametrize("quality", [60, 75, 90])
@pytest.mark.parametrize("name", ["mask.jpg", "mask.tif"])
def test_the_ringing_of_a_jpeg_is_not_marked(tmp_path, scan, name, quality):
    how = {"compression": "jpeg"} if name == "mask.tif" else {}
    shown(LESION).convert("L").save(tmp_path / name, quality=quality, **how)
    np.testing.assert_array_equal(read_truth(tmp_path / name, scan)[0], LESION)
    (note,) = truth_notes(tmp_path / name, LESION)
    assert "JPEG" in note


def test_a_truth_that_may_be_inverted_is_told(tmp_path):
    for kind, marked in (("good", np.zeros(SHAPE, bool)), ("Ungood", ~LESION)):
        for part in ("img", "label"):
            (tmp_path / "test" / kind / part).mkdir(parents=True)
        shown(LESION).save(tmp_path / "test" / kind / "img" / f"{kind}.png")
        shown(marked).save(tmp_path / "test" / kind / "label" / f"{kind}.png")
    figures = evaluate_dataset(find_dataset(tmp_path), lambda volume: volume.values, EvaluationSettings())
    ((path, note),) = figures.notes
    assert path == tmp_path / "test/Ungood/img/Ungood.png"
    assert "More than half" in note


def test_a_protocol_takes_the_nearest_pixel_of_a_truth_and_means_of_scores():
    """A thin lesion is neither widened nor blurred away; a score is not picked."""
    rng = np.random.default_rng(0)
    truth, scores = rng.random((1, 480, 480)) < 0.3, rng.random((1, 480, 480), dtype=np.float32)
    small_scores, small_truth = at_protocol(scores, truth, "ar240")
    np.testing.assert_array_equal(small_truth[0], truth[0, 1::2, 1::2])
    assert small_scores.mean() == pytest.approx(scores.mean(), abs=1e-3)
    assert small_scores.std() < 0.6 * scores.std()
