"""Slices under the heatmap as DICOM: colour images in the place of the source's, as pydicom alone reads them."""

from __future__ import annotations

import errno
import os

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage, generate_uid

from dicom_files import (
    PATIENT_NAME,
    ct_values,
    enhanced_dataset,
    image_dataset,
    save_all,
    sequence_item,
    series_datasets,
)
from napari_dinoad.errors import DinoadError, ScanReadError, SettingError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.colour_slices import save_dicom_slices
from napari_dinoad.maps.dicom.parametric_map import save_dicom_map
from napari_dinoad.maps.dicom.sources import source_fault

OBLIQUE = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)

MARKED = (slice(2, 4), slice(10, 20), slice(25, 45))
"""Voxels (z, y, x) that are unusual."""


@pytest.fixture
def mask_of(tmp_path):
    """Make a mask of a grey series of 6 slices with one unusual box."""

    def made(**geometry):
        grey = np.full((6, 60, 70), 100, np.int16)
        grey[:, 5:-5, 5:-5] = 150
        save_all(series_datasets(grey, **geometry), tmp_path / "ct")
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
    sources.sort(key=lambda source: source.InstanceNumber)
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
        assert image.PositionReferenceIndicator == "", "likewise"
        assert (image.SamplesPerPixel, image.PhotometricInterpretation) == (3, "RGB")
        assert "research use only" in image.SeriesDescription
        assert max(image.Rows, image.Columns) >= 512
        assert image.Rows * image.PixelSpacing[0] == pytest.approx(source.Rows * source.PixelSpacing[0])
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert images[0].SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert [image.InstanceNumber for image in images] == [1, 2, 3, 4, 5, 6]


def test_slices_lie_at_the_very_numbers_of_the_source(tmp_path, mask_of):
    """Rounding to 32 bit made 706.21002 of 706.21; some viewers look for slices at one place."""
    mask = mask_of(origin=(-115.5, -1.85, 696.21), gap=5.0)
    places = {pydicom.dcmread(path).ImagePositionPatient[2] for path in mask.anomaly_map.source.dicom_files}
    made = save_dicom_slices(tmp_path / "out", mask)
    assert {pydicom.dcmread(path).ImagePositionPatient[2] for path in made.iterdir()} == places


def test_an_earlier_series_is_replaced_and_other_files_stay(tmp_path, mask_of):
    mask, folder = mask_of(), tmp_path / "out"
    save_dicom_slices(folder, mask)
    for longer in ("0099.dcm", "10000.dcm"):
        (folder / longer).write_bytes((folder / "0001.dcm").read_bytes())
    (folder / "notes.txt").write_text("mine")
    first = pydicom.dcmread(folder / "0001.dcm").SeriesInstanceUID
    save_dicom_slices(folder, mask)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"000{n}.dcm" for n in range(1, 7)),
        "notes.txt",
    ]
    assert pydicom.dcmread(folder / "0001.dcm").SeriesInstanceUID != first
    assert not list(tmp_path.glob(".dinoad-*"))


def test_images_of_others_are_not_replaced(tmp_path, mask_of):
    """A folder of that name may be the patient's own series."""
    mask, folder = mask_of(), tmp_path / "out"
    folder.mkdir()
    others = [folder / "0001.dcm", folder / "0300.dcm"]
    for path in others:
        path.write_bytes(mask.anomaly_map.source.dicom_files[0].read_bytes())
    before = {path: path.read_bytes() for path in others}
    with pytest.raises(
        SettingError, match=r"0001\.dcm would be replaced, and was not written by napari-dinoad"
    ):
        save_dicom_slices(folder, mask)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(tmp_path.glob(".dinoad-*"))


def test_a_disk_that_is_full_is_told_with_what_to_do(tmp_path, mask_of, monkeypatch):
    """pydicom raises the system's error anew, without the number by which it is known."""

    def fails(*args, **kwargs):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError("With tag (7FE0,0010) got exception: …") from error

    mask = mask_of()
    monkeypatch.setattr("pydicom.dataset.Dataset.save_as", fails)
    what, room = "Free disk space or choose another folder", "The disk of .* has .* free"
    told = rf"Cannot write .*: No space left on device\. {what}\. {room}\.$"
    with pytest.raises(DinoadError, match=told):
        save_dicom_slices(tmp_path / "out", mask)
    with pytest.raises(DinoadError, match=told):
        save_dicom_map(tmp_path / "map.dcm", mask.anomaly_map)
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


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


@pytest.mark.parametrize("gap", [2.0, -2.0])
@pytest.mark.parametrize("is_multi_frame", [False, True])
def test_slices_are_numbered_in_the_direction_of_the_source(tmp_path, gap, is_multi_frame):
    """Viewers scroll by the number: side by side, both series must run the same way."""
    grey = ct_values(6, 40, 50)
    if is_multi_frame:
        save_all([enhanced_dataset(grey, gap=gap)], tmp_path / "ct")
    else:
        save_all(series_datasets(grey, gap=gap), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    folder = save_dicom_slices(tmp_path / "out", AnomalyMap(np.zeros_like(volume.values), volume).mask(0.01))
    images = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    assert [image.InstanceNumber for image in images] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([i.ImagePositionPatient[2] for i in images], 5 + gap * np.arange(6), atol=1e-4)


def slices_of_image(folder, pixels, **tags):
    """Return the only slice of an image without a place, read again."""
    tags = {"SeriesInstanceUID": generate_uid(), **tags}
    save_all([image_dataset(pixels, sop_class="1.2.840.10008.5.1.4.1.1.1", **tags)], folder / "xr")
    volume = read_volume(folder / "xr")
    made = save_dicom_slices(folder / "out", AnomalyMap(np.zeros_like(volume.values), volume).mask(0.01))
    return pydicom.dcmread(made / "0001.dcm")


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_pixels_of_a_radiograph_keep_the_size_that_is_told(tmp_path, keyword):
    image = slices_of_image(
        tmp_path, ct_values(1, 100, 128)[0], **{keyword: [0.4, 0.2], "PixelAspectRatio": [2, 1]}
    )
    assert (image.Rows, image.Columns) == (400, 512)
    assert image[keyword].value == [0.1, 0.05]
    assert "PixelAspectRatio" not in image, "it is for pixels of unknown size"


def test_one_frame_of_an_ultrasound_film_has_a_slice_but_no_seg(tmp_path):
    dataset = image_dataset(ct_values(4, 40, 50).astype(np.uint16), NumberOfFrames=4, Modality="US")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    dataset.SeriesInstanceUID = generate_uid()
    [path] = save_all([dataset], tmp_path / "us")
    volume = read_volume(path, frame=2)
    assert volume.geometry.canonical_shape == (1, 40, 50)
    folder = save_dicom_slices(tmp_path / "out", AnomalyMap(np.zeros_like(volume.values), volume).mask(0.01))
    assert [path.name for path in folder.iterdir()] == ["0001.dcm"]
    assert "got a frame of several without" in source_fault(volume), "before it is scored"


def test_pixels_of_no_size_are_pixels_of_unknown_size(tmp_path):
    image = slices_of_image(tmp_path, ct_values(1, 100, 128)[0], PixelSpacing=[0, 0], PixelAspectRatio=[2, 1])
    assert image.PixelAspectRatio == [2, 1] and "PixelSpacing" not in image


def test_an_odd_number_of_pixels(tmp_path):
    """Over these GDCM's compression, which pydicom would choose, ends the process."""
    pixels = np.tile(np.arange(601, dtype=np.uint16), (513, 1))
    image = slices_of_image(tmp_path, pixels)
    grey = image.pixel_array[:400]
    assert image.file_meta.TransferSyntaxUID == RLELossless
    assert grey.shape == (400, 601, 3)
    assert (np.ptp(grey, axis=-1) == 0).all() and (np.diff(grey[0, :, 0].astype(int)) >= 0).all()


def test_pixels_of_unknown_size_keep_their_shape(tmp_path):
    image = slices_of_image(tmp_path, ct_values(1, 100, 128)[0], PixelAspectRatio=[2, 1])
    assert image.PixelAspectRatio == [2, 1] and "PixelSpacing" not in image


def test_what_is_written_into_a_large_radiograph_grows_with_it(tmp_path):
    """Viewers scale it down; at 12 px of 3,000 nobody reads that it is for research only."""
    heights = []
    for side in (512, 2048):
        pixels = np.zeros((side, side), np.uint16)
        pixels[: side // 2] = 1000
        image = slices_of_image(tmp_path / str(side), pixels)
        rows = np.flatnonzero((image.pixel_array[side // 2 :] > 100).any(axis=(1, 2)))
        heights.append(np.ptp(rows))
    assert heights[1] == pytest.approx(4 * heights[0], rel=0.1)


def test_slices_of_an_ultrasound_volume_claim_no_place_in_the_patient(tmp_path):
    """The header places them in the ultrasound's volume only; its frame of reference is not theirs."""
    dataset = enhanced_dataset(ct_values(6, 40, 50).astype(np.uint16))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6.2"
    (shared,) = dataset.SharedFunctionalGroupsSequence
    del shared.PlaneOrientationSequence
    shared.PlaneOrientationVolumeSequence = [sequence_item(ImageOrientationVolume=[1, 0, 0, 0, 1, 0])]
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        del group.PlanePositionSequence, group.PixelValueTransformationSequence
        group.PlanePositionVolumeSequence = [sequence_item(ImagePositionVolume=[0, 0, 2.0 * place])]
    save_all([dataset], tmp_path / "us")
    volume = read_volume(tmp_path / "us")
    folder = save_dicom_slices(tmp_path / "out", AnomalyMap(np.zeros_like(volume.values), volume).mask(0.01))
    image = pydicom.dcmread(folder / "0001.dcm")
    assert not {"ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"} & set(image.dir())
    assert not image.get("PatientOrientation")
    assert image.Rows * image.PixelSpacing[0] == pytest.approx(40 * 0.5)


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


def test_slices_of_a_picture_in_colour_are_in_its_colours(tmp_path):
    pixels = np.zeros((64, 80, 3), np.uint8)
    pixels[:32], pixels[32:] = (200, 40, 90), (10, 120, 60)
    tags = {"Modality": "XC", "SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    [path] = save_all([image_dataset(pixels, **tags)], tmp_path / "photograph")
    volume = read_volume(path)
    mask = AnomalyMap(np.zeros(volume.values.shape, np.float32), volume).mask(0.001)
    save_dicom_slices(tmp_path / "out", mask)
    [written] = (tmp_path / "out").glob("*.dcm")
    shown = pydicom.dcmread(written).pixel_array
    rows = len(shown)
    np.testing.assert_array_equal(shown[rows // 4, -9], (200, 40, 90))
    np.testing.assert_array_equal(shown[3 * rows // 4, -9], (10, 120, 60))
