"""Mask files as programs write them; the picture that a viewer shows is the oracle."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import ExifTags, Image

from dicom_files import AXIAL, ct_values, save_all, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.evaluation.benchmark import evaluate_dataset
from napari_dinoad.evaluation.datasets import find_dataset
from napari_dinoad.evaluation.truths import at_protocol, read_truth, truth_notes
from napari_dinoad.images.readers import read_volume
from napari_dinoad.maps import AnomalyMap
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
    assert truth_notes(tmp_path / name, marked, scan) == ()


@pytest.mark.parametrize("classes", [(1, 2, 4), (3, 254, 255)])
@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_all_classes_of_a_mask_are_marked(tmp_path, scan, name, classes):
    """Also those whose number is small against that of another one."""
    pixels = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(classes):
        pixels[10 * number : 10 * number + 8, 5:15] = value
    Image.fromarray(pixels).save(tmp_path / name)
    np.testing.assert_array_equal(read_truth(tmp_path / name, scan)[0], pixels > 0)


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
    (note,) = truth_notes(tmp_path / name, LESION, scan)
    assert "JPEG" in note


@pytest.mark.parametrize("shape", [(20, 30), (20, 20)])
@pytest.mark.parametrize("orientation", [AXIAL, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)])
def test_a_picture_is_the_mask_of_a_dicom_slice_by_rows_and_columns(tmp_path, shape, orientation):
    """That of a square slice was taken for one of the array (columns, rows), turned over, and others were refused."""
    values = ct_values(1, *shape)
    (path,) = save_all(series_datasets(values, orientation=orientation), tmp_path / "ct")
    volume = read_volume(path)
    marked = np.zeros(shape, bool)
    marked[2:5, 10:18] = True
    shown(marked).save(tmp_path / "mask.png")
    truth = read_truth(tmp_path / "mask.png", volume)
    np.testing.assert_array_equal(np.sort(volume.values[truth]), np.sort(values[0][marked]))


def test_a_picture_does_not_say_where_on_a_nifti_scan_it_lies(tmp_path):
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random(SHAPE), np.eye(4)), tmp_path / "scan.nii")
    shown(LESION).save(tmp_path / "mask.png")
    with pytest.raises(ScanReadError, match="a mask that says where its voxels lie"):
        read_truth(tmp_path / "mask.png", read_volume(tmp_path / "scan.nii"))


@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (-1, 1)])
@pytest.mark.parametrize("n", [1, 3])
def test_of_a_mask_in_millimetres_rows_and_columns_count_for_pictures(tmp_path, scan, signs, n):
    """ITK writes x and y of pictures against those of NIfTI: the truth was turned round."""
    source = scan
    if n > 1:
        pages = [Image.fromarray(page) for page in ct_values(n, *SHAPE).astype(np.uint16)]
        pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
        source = read_volume(tmp_path / "scan.tif")
    marked = np.zeros((n, *SHAPE), np.uint8)
    marked[n - 1] = LESION
    nib.save(nib.Nifti1Image(marked.T, np.diag([*signs, 1.0, 1.0])), tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_truth(tmp_path / "mask.nii.gz", source), marked > 0)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", [(20, 30), (20, 20)])
def test_a_mask_that_was_written_for_a_picture_is_one_of_it(tmp_path, n, shape):
    """As the plugin writes it: rows and columns as NIfTI's first axes, no unit, no place."""
    pages = [Image.fromarray(page) for page in ct_values(n, *shape).astype(np.uint16)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    volume = read_volume(tmp_path / "scan.tif")
    values = np.zeros(volume.values.shape, np.float32)
    values[n - 1, 3:5, 10:18] = 4
    path = AnomalyMap(values, volume).mask(0.01).save(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_truth(path, volume), values > 0)


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


def test_masks_in_a_folder_are_taken_together(tmp_path, scan):
    other = np.zeros(SHAPE, bool)
    other[40:50, 5:10] = True
    folder = tmp_path / "ground_truth" / "scan"
    folder.mkdir(parents=True)
    for name, marked in (("000.png", LESION), ("001.png", other)):
        # LOCO writes another grey for each defect.
        Image.fromarray(np.uint8(254 if name == "000.png" else 7) * marked).save(folder / name)
    assert np.array_equal(read_truth(folder, scan)[0], LESION | other)


def test_segments_of_3d_slicer_that_overlap_are_all_marked(tmp_path):
    """They lie in layers, for which a frame was asked for that `dinoad evaluate` has no option for."""
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(0)
    sitk.WriteImage(sitk.GetImageFromArray(rng.random((4, 5, 6), dtype=np.float32)), tmp_path / "case.nrrd")
    layers = rng.integers(0, 3, (4, 5, 6, 2), dtype=np.uint8) * (rng.random((4, 5, 6, 2)) < 0.3)
    image = sitk.GetImageFromArray(layers.astype(np.uint8), isVector=True)
    image.SetMetaData("Segment0_ID", "Segment_1")
    sitk.WriteImage(image, tmp_path / "case.seg.nrrd")
    (case,) = find_dataset(tmp_path).test
    assert case.mask == tmp_path / "case.seg.nrrd"
    volume = read_volume(tmp_path / "case.nrrd")
    stored = volume.geometry.to_stored(read_truth(case.mask, volume))
    np.testing.assert_array_equal(stored.T, layers.any(-1))


TURNED = (0.0, 0.6, 0.8, -1.0, 0.0, 0.0, 0.0, -0.8, 0.6)
"""Direction of an oblique scan, stored along other axes than the patient's."""


def save_scan_and_segments(folder, n_layers, moved=(0, 0, 0), finer=1):
    """Write a turned scan and its segments, cropped as 3D Slicer does it; return where these are in it (z, y, x)."""
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(0)
    scan = sitk.GetImageFromArray(rng.random((7, 8, 9), dtype=np.float32))
    scan.SetSpacing((0.8, 0.9, 2.5))
    scan.SetOrigin((-41.3, 17.7, 103.1))
    scan.SetDirection(TURNED)
    sitk.WriteImage(scan, folder / "case.nrrd")
    labels = np.zeros((7, 8, 9, n_layers), np.uint8)
    labels[2:5, 1:4, 3:8] = rng.integers(0, 3, (3, 3, 5, n_layers))
    labels[2, 1, 3] = labels[4, 3, 7] = 1
    cropped = labels[2:5, 1:4, 3:8] if n_layers > 1 else labels[2:5, 1:4, 3:8, 0]
    segments = sitk.GetImageFromArray(cropped, isVector=n_layers > 1)
    segments.SetSpacing((np.array(scan.GetSpacing()) / finer).tolist())
    place = (np.array((3, 1, 2)) + moved).tolist()
    segments.SetOrigin(scan.TransformContinuousIndexToPhysicalPoint(place))
    segments.SetDirection(TURNED)
    segments.SetMetaData("Segment0_ID", "Segment_1")
    sitk.WriteImage(segments, folder / "case.seg.nrrd")
    return labels.any(-1)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_segments_of_3d_slicer_may_be_cropped(tmp_path, n_layers):
    """They were refused for their shape."""
    marked = save_scan_and_segments(tmp_path, n_layers)
    volume = read_volume(tmp_path / "case.nrrd")
    truth = read_truth(tmp_path / "case.seg.nrrd", volume)
    np.testing.assert_array_equal(volume.geometry.to_stored(truth).T, marked)


@pytest.mark.parametrize(
    ("moved", "finer", "told"),
    [
        ((0.5, 0, 0), 1, "lies on another grid"),
        ((0, 0, 0), 2, "lies on another grid"),
        ((0, 0, 0), (1, 1, 1 / 3), "lies on another grid"),
        ((0, 0, 0), (1, 1 / 2, 1), "lies on another grid"),
        ((0, 5, 0), 1, "reaches beyond its scan"),
        ((-4, 0, 0), 1, "reaches beyond its scan"),
    ],
    ids=str,
)
def test_segments_of_3d_slicer_off_the_voxels_of_the_scan_are_refused(tmp_path, moved, finer, told):
    save_scan_and_segments(tmp_path, 1, moved, finer)
    with pytest.raises(ScanReadError, match=told):
        read_truth(tmp_path / "case.seg.nrrd", read_volume(tmp_path / "case.nrrd"))


def test_segments_of_3d_slicer_are_no_scan_that_is_read(tmp_path):
    """`dinoad score` took their numbers for grey values."""
    save_scan_and_segments(tmp_path, 1)
    with pytest.raises(ScanReadError, match=r"a segmentation of 3D Slicer, not a scan\. Give the scan"):
        read_volume(tmp_path / "case.seg.nrrd")
