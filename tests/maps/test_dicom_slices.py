"""Slices under the heatmap as DICOM: colour images in the place of the source's, as pydicom alone reads them."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from dicom_files import PATIENT_NAME, image_dataset, save_all, series_datasets
from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom_slices import save_dicom_slices

OBLIQUE = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)

MARKED = (slice(2, 4), slice(10, 20), slice(25, 45))
"""Voxels (z, y, x) that are unusual."""


@pytest.fixture
def mask_of(tmp_path):
    """Make a mask of a grey series of 6 slices with one unusual box."""

    def made(**geometry):
        grey = np.full((6, 60, 70), 100, np.int16)
        grey[:, 5:-5, 5:-5] = 150
        save_all(series_datasets(grey, StudyInstanceUID=generate_uid(), **geometry), tmp_path / "ct")
        volume = read_volume(tmp_path / "ct")
        values = np.zeros(volume.values.shape, np.float32)
        values[MARKED] = 4
        return AnomalyMap(values, volume).mask(0.001)

    return made


def coloured_points(folder):
    """Return the RAS places (n, 3) of all pixels that are not grey, legend apart, by the standard's equation."""
    points = []
    for path in sorted(folder.glob("*.dcm")):
        image = pydicom.dcmread(path)
        pixels = image.pixel_array.astype(int)
        pixels[-40:, :220] = 0  # the legend
        rows, columns = np.nonzero(np.ptp(pixels, axis=-1) > 0)
        right, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        between_rows, between_columns = image.PixelSpacing
        start = np.array(image.ImagePositionPatient, float)
        lps = start + np.outer(columns * between_columns, right) + np.outer(rows * between_rows, down)
        points.append(lps * (-1, -1, 1))
    return np.concatenate(points)


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1.0, 0), (-1.0, 0, 0, 0, 1.0, 0), OBLIQUE])
def test_colours_lie_on_what_is_unusual(tmp_path, mask_of, orientation):
    mask = mask_of(orientation=orientation, spacing=(0.5, 0.7), gap=2.5)
    folder = save_dicom_slices(tmp_path / "out", mask)
    points = coloured_points(folder)
    voxels = np.argwhere(mask.geometry.to_stored(mask.values))
    affine = mask.geometry.affine
    world = voxels @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(points.mean(axis=0), world.mean(axis=0), atol=0.02)
    to_voxel = np.linalg.inv(affine)
    indices = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    # Voxels reach half their size beyond their centres, interpolation at most as far again.
    beyond = np.array([1, 1, 1e-3])
    assert (indices.min(axis=0) >= voxels.min(axis=0) - beyond).all()
    assert (indices.max(axis=0) <= voxels.max(axis=0) + beyond).all()


def test_one_image_a_slice_in_a_series_of_the_study(tmp_path, mask_of):
    mask = mask_of()
    folder = save_dicom_slices(tmp_path / "out", mask)
    images = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    sources = [pydicom.dcmread(path) for path in mask.anomaly_map.source.dicom_files]
    assert len(images) == 6 and len({image.SOPInstanceUID for image in images}) == 6
    for image, source in zip(images, sources, strict=True):
        assert image.SOPClassUID == SecondaryCaptureImageStorage
        assert (image.StudyInstanceUID, image.FrameOfReferenceUID) == (
            source.StudyInstanceUID,
            source.FrameOfReferenceUID,
        )
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.ImagePositionPatient[2] == source.ImagePositionPatient[2]
        assert str(image.PatientName) == PATIENT_NAME
        assert image.Laterality == "", "it must be there, and may be empty"
        assert (image.SamplesPerPixel, image.PhotometricInterpretation) == (3, "RGB")
        assert "research use only" in image.SeriesDescription
        assert max(image.Rows, image.Columns) >= 512
        assert image.Rows * image.PixelSpacing[0] == pytest.approx(source.Rows * source.PixelSpacing[0])
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert images[0].SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert [image.InstanceNumber for image in images] == [1, 2, 3, 4, 5, 6]


def test_an_earlier_series_is_replaced_and_other_files_stay(tmp_path, mask_of):
    mask, folder = mask_of(), tmp_path / "out"
    save_dicom_slices(folder, mask)
    (folder / "0099.dcm").write_bytes(b"of a longer scan")
    (folder / "notes.txt").write_text("mine")
    first = pydicom.dcmread(folder / "0001.dcm").SeriesInstanceUID
    save_dicom_slices(folder, mask)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"000{n}.dcm" for n in range(1, 7)),
        "notes.txt",
    ]
    assert pydicom.dcmread(folder / "0001.dcm").SeriesInstanceUID != first
    assert not list(tmp_path.glob(".dinoad-*"))


def test_a_source_that_has_gone_leaves_an_earlier_series_whole(tmp_path, mask_of):
    mask, folder = mask_of(), tmp_path / "out"
    save_dicom_slices(folder, mask)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    mask.anomaly_map.source.dicom_files[3].unlink()
    with pytest.raises(ScanReadError, match="cannot be read again"):
        save_dicom_slices(folder, mask)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_radiograph_without_a_place_keeps_its_rows_and_columns(tmp_path):
    pixels = np.tile(np.arange(600, dtype=np.uint16), (400, 1))
    dataset = image_dataset(pixels, sop_class="1.2.840.10008.5.1.4.1.1.1.1", SeriesInstanceUID=generate_uid())
    dataset.PatientOrientation = ["L", "F"]
    save_all([dataset], tmp_path / "xr")
    volume = read_volume(tmp_path / "xr")
    values = np.zeros(volume.values.shape, np.float32)
    values.reshape(400, 600)[50:90, 300:500] = 5
    folder = save_dicom_slices(tmp_path / "out", AnomalyMap(values, volume).mask(0.001))
    (path,) = folder.iterdir()
    image = pydicom.dcmread(path)
    assert (image.Rows, image.Columns) == (400, 600)
    assert list(image.PatientOrientation) == ["L", "F"]
    assert "ImagePositionPatient" not in image
    coloured = np.ptp(image.pixel_array[:300].astype(int), axis=-1) > 0
    np.testing.assert_array_equal(np.argwhere(coloured).min(axis=0), (50, 300))
    np.testing.assert_array_equal(np.argwhere(coloured).max(axis=0), (89, 499))


def test_what_was_written_is_never_a_scan(tmp_path, mask_of):
    folder = save_dicom_slices(tmp_path / "ct" / "results", mask_of())
    with pytest.raises(ScanReadError, match="a result of napari-dinoad, not a scan"):
        read_volume(folder / "0001.dcm")
    found = discover_scans(tmp_path)
    assert [scan.shape for scan in found.scans] == [(70, 60, 6)]
    assert read_volume(tmp_path / "ct").values.shape == (6, 60, 70)


def test_only_scans_from_dicom_have_them(tmp_path):
    plain = Volume(np.zeros((2, 3, 4), np.float32), Geometry((4, 3, 2), np.eye(4)))
    with pytest.raises(SettingError, match="DICOM slices: expected a scan read from DICOM"):
        save_dicom_slices(tmp_path / "out", AnomalyMap(plain.values, plain).mask(0.01))
    assert not list(tmp_path.iterdir())
