"""A large scan fits into the memory of a laptop: no step takes much more than the scan and what it makes of it.

Bounds are in sizes of the scan in float32; large scans take the same shares, since what is done in parts takes less.
"""

from __future__ import annotations

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from dicom_files import save_all, series_datasets
from napari_dinoad.calibration import Calibration, OwnScores
from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.images.found_masks import found_mark
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.parametric_map import save_dicom_map
from napari_dinoad.maps.pictures.slice_choice import heat_loads, marked_loads
from napari_dinoad.pipeline.slices.placed_slices import HostScores
from taken_memory import most_taken

SHAPE = (96, 256, 256)
SIZE = 4 * int(np.prod(SHAPE))


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).random(SHAPE, dtype=np.float32)


def test_a_scaled_nifti_is_read_without_a_copy_in_float64(tmp_path, noise):
    affine = np.diag([-1.0, 1, 1, 1])
    image = nib.Nifti1Image((noise * 1000).astype(np.float64).transpose(2, 1, 0), affine)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "scan.nii.gz")
    assert nib.load(tmp_path / "scan.nii.gz").dataobj.slope != 1
    volume, taken = most_taken(lambda: read_volume(tmp_path / "scan.nii.gz"))
    assert taken < 1.9 * SIZE, "the values, and those of two bytes that they are made of"
    expected = nib.load(tmp_path / "scan.nii.gz").get_fdata().astype(np.float32)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), expected)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)])
def test_a_dicom_series_is_read_into_its_place(tmp_path, noise, orientation):
    pixels = (noise[:32] * 1000).astype(np.int16)
    save_all(series_datasets(pixels, orientation=orientation, gap=1.0, Modality="CT"), tmp_path / "series")
    read_volume(tmp_path / "series")  # the libraries are loaded, and not counted
    volume, taken = most_taken(lambda: read_volume(tmp_path / "series"))
    assert taken < 1.5 * volume.values.nbytes, "the values, and the headers"
    assert volume.values.flags.c_contiguous
    stored = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)
    assert np.array_equal(stored, pixels) or np.array_equal(stored[::-1], pixels)


@pytest.fixture(scope="module")
def ct(tmp_path_factory, noise):
    """Return a CT of another order of rows than the canonical one, read from DICOM."""
    folder = tmp_path_factory.mktemp("ct") / "series"
    pixels = (noise * 1000).astype(np.int16)
    save_all(series_datasets(pixels, orientation=(-1, 0, 0, 0, 1, 0), gap=1.0, Modality="CT"), folder)
    return read_volume(folder)


def test_a_dicom_map_is_written_from_the_values_themselves(tmp_path, noise, ct):
    anomaly_map = AnomalyMap(noise, ct)
    save_dicom_map(tmp_path / "first.dcm", anomaly_map)  # the libraries are loaded, and not counted
    _, taken = most_taken(lambda: save_dicom_map(tmp_path / "map.dcm", anomaly_map))
    assert taken < 0.6 * SIZE, "the headers alone"
    theirs = hd.imread(tmp_path / "map.dcm").get_volume(dtype=np.float32)
    np.testing.assert_array_equal(np.sort(theirs.array, axis=None), np.sort(noise, axis=None))


def test_colour_becomes_grey_some_rows_at_a_time(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png", compress_level=1)
    volume, taken = most_taken(lambda: read_volume(tmp_path / "photograph.png"))
    assert taken < 3 * volume.values.nbytes, (
        "the values, the colours twice as Pillow gives them, and some rows"
    )


def test_the_body_is_found_in_less_than_the_scan(noise):
    z, y, x = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    scan = noise + 10 * ((x**2 + y**2 + z**2) < 0.9)
    body, taken = most_taken(lambda: find_body(scan))
    assert 0.3 < body.mean() < 0.6
    assert taken < 1.2 * SIZE, "the body itself, masks of one bit a voxel, and a sample that is sorted"


def test_a_tube_that_is_open_at_its_side_is_found_in_less_than_the_scan():
    """All that lies in it is looked at, whether it is enclosed: across the tube, where no rows run."""
    scan = np.zeros(SHAPE, dtype=np.float32)
    scan[8:-8, 8:-8, 8:-8] = 10
    scan[12:-12, 12:-12, 8:-8] = 0
    scan[40:56, :12] = 0
    body, taken = most_taken(lambda: find_body(scan))
    assert body.any()
    assert not body[20:-20, 20:-20].any(), "it is not enclosed"
    assert taken < 1.2 * SIZE


@pytest.mark.parametrize("kind", ["dense", "lines"])
def test_the_body_of_noise_is_found_in_twice_the_scan(noise, kind):
    """A scan that failed: as many runs along rows as there can be, and as many neighbours."""
    shares = {"dense": noise < 0.9, "lines": np.arange(SHAPE[2]) % 2 == 1}
    scan = np.zeros(SHAPE, dtype=np.float32)
    inside = (slice(4, -4),) * 3
    scan[inside] = np.broadcast_to(shares[kind], SHAPE)[inside]
    _, taken = most_taken(lambda: find_body(scan))
    assert taken < 2 * SIZE, "a number for each voxel, and the voxels"


def test_probabilities_are_found_for_some_scores_at_a_time(noise):
    calibration = Calibration.from_histogram(ScoreHistogram.of(noise[:4]), [OwnScores(1.0, 1.0)])
    levels, taken = most_taken(lambda: calibration.neg_log10_p(noise))
    assert taken < 1.1 * SIZE + 60 * 2**20
    np.testing.assert_array_equal(levels[3], calibration.neg_log10_p(noise[3]))


def test_the_score_of_a_scan_takes_one_copy_of_its_scores(noise):
    def score():
        gathered = HostScores(noise.size)
        for plane in noise:
            gathered.add(plane.ravel())
        return gathered.scan_score(0.001)

    found, taken = most_taken(score)
    assert taken < 1.1 * SIZE
    top = np.sort(noise, axis=None)[-round(0.001 * noise.size) :]
    assert found == pytest.approx(top.mean(dtype=np.float64))


@pytest.mark.parametrize("is_picture", [False, True])
def test_regions_take_no_more_where_most_of_a_scan_is_marked(noise, is_picture):
    geometry = Geometry(tuple(reversed(SHAPE)), np.diag([-1.0, -1, 1, 1]))
    if is_picture:
        noise = noise.reshape(1, 3 * 1024, 2 * 1024)
        geometry = Geometry.of_pixels(noise.shape[1:])
    volume = Volume(noise, geometry)
    mask, taken = most_taken(AnomalyMap(5 * noise, volume).mask)
    assert (mask.labels > 0).mean() > 0.5
    assert taken < 3.2 * SIZE, "the map made here, labels, bits, and some slices"
    found, taken = most_taken(mask.regions)
    assert len(found) == 1 or is_picture
    assert taken < 7 * SIZE


def test_loads_and_marks_take_no_copy_of_the_map(noise):
    labels = (noise > 0.2).astype(np.int32)
    for work in (
        lambda: heat_loads(noise),
        lambda: marked_loads(noise, labels, 0.1),
        lambda: found_mark(labels.transpose(2, 1, 0)[::-1]),
    ):
        _, taken = most_taken(work)
        assert taken < 0.5 * SIZE + 20 * 2**20
