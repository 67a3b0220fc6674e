"""Images whose place the standard keeps elsewhere than in other images: gamma cameras, ultrasound."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import (
    EnhancedUSVolumeStorage,
    NuclearMedicineImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from dicom_files import AXIAL, converted_by_dcm2niix, ct_values, image_dataset, sequence_item
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.maps.dicom.sources import source_fault
from napari_dinoad.settings import preset

CORONAL_OBLIQUE = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)
POSITION = (-31.0, -42.0, 53.0)


def tomogram(values, *, spacing=3.0, orientation=AXIAL, kind="RECON TOMO", slices=None, **tags):
    """Return a reconstruction of a gamma camera of ``values`` (n, rows, columns)."""
    dataset = image_dataset(
        values.astype(np.uint16),
        sop_class=NuclearMedicineImageStorage,
        Modality="NM",
        ImageType=["ORIGINAL", "PRIMARY", kind, "EMISSION"],
        SeriesInstanceUID=generate_uid(),
        FrameOfReferenceUID=generate_uid(),
        SeriesNumber=4,
        InstanceNumber=1,
        NumberOfFrames=len(values),
        PixelSpacing=[2.0, 2.5],
        SliceThickness=4.0,
        FrameIncrementPointer=[0x00540080],
        NumberOfSlices=len(values),
        SliceVector=list(range(1, len(values) + 1)) if slices is None else slices,
    )
    if spacing is not None:
        dataset.SpacingBetweenSlices = spacing
    dataset.DetectorInformationSequence = [
        sequence_item(ImagePositionPatient=list(POSITION), ImageOrientationPatient=list(orientation))
    ]
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def save(dataset, folder):
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / "1.dcm", enforce_file_format=True)
    return folder / "1.dcm"


def place_of(volume, value):
    """Return where a value lies, in LPS millimetres."""
    return volume.geometry.canonical_to_world(np.argwhere(volume.values == value))[0] * (-1, -1, 1)


@pytest.mark.parametrize("spacing", [3.0, -3.0])
@pytest.mark.parametrize("orientation", [AXIAL, CORONAL_OBLIQUE])
def test_slices_of_a_gamma_camera_lie_where_its_detector_says(tmp_path, spacing, orientation):
    """Stacked along the normal of the image, or against it where their distance is negative."""
    values = ct_values()
    volume = read_volume(save(tomogram(values, spacing=spacing, orientation=orientation), tmp_path))
    assert volume.notes == ()
    assert volume.geometry.is_physical
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(along_row, along_column)
    for number, row, column in ((0, 0, 0), (0, 3, 5), (5, 9, 11)):
        expected = POSITION + 2.5 * column * along_row + 2.0 * row * along_column + spacing * number * normal
        np.testing.assert_allclose(place_of(volume, values[number, row, column]), expected, atol=1e-4)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL_OBLIQUE])
def test_as_dcm2niix_reads_it(tmp_path, orientation):
    save(tomogram(ct_values(), orientation=orientation), tmp_path / "nm")
    theirs = converted_by_dcm2niix(tmp_path / "nm", tmp_path / "nii")
    ours = read_volume(tmp_path / "nm")
    np.testing.assert_array_equal(ours.values.transpose(2, 1, 0), np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.geometry.canonical_affine, theirs.affine, atol=1e-3)


def test_the_slice_vector_says_which_slice_a_frame_is(tmp_path):
    values = ct_values()
    ordered = read_volume(save(tomogram(values), tmp_path / "ordered"))
    mixed = [3, 1, 2, 6, 5, 4]
    shuffled = tomogram(values[[number - 1 for number in mixed]], slices=mixed)
    volume = read_volume(save(shuffled, tmp_path / "mixed"))
    np.testing.assert_array_equal(volume.values, ordered.values)
    np.testing.assert_array_equal(volume.geometry.affine, ordered.geometry.affine)
    assert volume.dicom_frames == tuple(mixed.index(number) + 1 for number in range(6, 0, -1))


def test_what_a_gamma_camera_does_not_say_is_told(tmp_path):
    values = ct_values()
    volume = read_volume(
        save(tomogram(values, spacing=None, slices=[], kind="RECON TOMO"), tmp_path / "thick")
    )
    assert volume.geometry.spacing == pytest.approx((4.0, 2.0, 2.5))
    thickness, order = volume.notes
    assert "their thickness, 4 mm, was taken" in thickness
    assert "which slice each frame is" in order
    for name, dataset in {
        "unknown": tomogram(values, spacing=None, SliceThickness=None),
        "nowhere": tomogram(values, DetectorInformationSequence=[sequence_item()]),
        "projections": tomogram(values, kind="TOMO"),
    }.items():
        volume = read_volume(save(dataset, tmp_path / name))
        assert not volume.geometry.is_physical
        told = "No place in the patient in the header: sizes are in pixels. A pixel is 2.5 × 2 mm by PixelSpacing."
        assert volume.notes == (told,)


def test_gates_of_a_gamma_camera_are_frames(tmp_path):
    values = ct_values(12)
    gated = tomogram(values, kind="RECON GATED TOMO", slices=[*range(1, 7)] * 2)
    path = save(gated, tmp_path)
    with pytest.raises(ScanReadError, match="a series of 2 frames"):
        read_volume(path)
    for frame in (0, 1):
        volume = read_volume(path, frame=frame)
        np.testing.assert_allclose(place_of(volume, values[6 * frame, 0, 0]), POSITION, atol=1e-4)
        assert volume.values.shape == (6, 10, 12)


def ultrasound(values, gap=0.7):
    """Return an ultrasound volume, whose slices lie in a volume of its own."""
    dataset = image_dataset(
        values.astype(np.uint16),
        sop_class=EnhancedUSVolumeStorage,
        Modality="US",
        SeriesInstanceUID=generate_uid(),
        FrameOfReferenceUID=generate_uid(),
        VolumeFrameOfReferenceUID=generate_uid(),
        SeriesNumber=5,
        InstanceNumber=1,
        NumberOfFrames=len(values),
    )
    dataset.SharedFunctionalGroupsSequence = [
        sequence_item(
            PixelMeasuresSequence=[sequence_item(PixelSpacing=[0.5, 0.6], SliceThickness=gap)],
            PlaneOrientationVolumeSequence=[sequence_item(ImageOrientationVolume=list(AXIAL))],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        sequence_item(
            PlanePositionVolumeSequence=[sequence_item(ImagePositionVolume=[1.0, 2.0, gap * number])]
        )
        for number in range(len(values))
    ]
    return dataset


def test_an_ultrasound_volume_has_its_sizes_and_a_note(tmp_path):
    values = ct_values()
    volume = read_volume(save(ultrasound(values), tmp_path))
    assert volume.geometry.spacing == pytest.approx((0.7, 0.5, 0.6))
    np.testing.assert_allclose(place_of(volume, values[2, 3, 4]), [1 + 4 * 0.6, 2 + 3 * 0.5, 1.4], atol=1e-4)
    (note,) = volume.notes
    assert "not in the patient" in note
    (scan,) = discover_scans(tmp_path).scans
    assert (scan.kind, scan.shape, scan.spacing_mm) == ("volume", (12, 10, 6), (0.6, 0.5))


@pytest.mark.parametrize("make", [tomogram, ultrasound])
def test_a_segmentation_of_them_is_refused_before_scoring(tmp_path, make):
    """It would name frames by their place in the patient, which these do not have each for itself."""
    assert "to whose frames it cannot refer" in source_fault(read_volume(save(make(ct_values()), tmp_path)))


def film_with_a_banner(folder, regions):
    """Save a film of ultrasound, a fan beneath a grey banner with text; return it and where the fan is."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((96, 120))
    fan = (rows > 24) & (rows < 90) & (np.abs(columns - 60) < 0.6 * (rows - 16))
    frames = np.where(fan, rng.integers(60, 200, (3, 96, 120)), 0)
    frames[:, 1:15, 2:118] = rng.choice([70, 210], (14, 116), p=[0.7, 0.3])
    film = image_dataset(
        frames.astype(np.uint16), sop_class=UltrasoundMultiFrameImageStorage, Modality="US", NumberOfFrames=3,
        SeriesInstanceUID=generate_uid(), SequenceOfUltrasoundRegions=regions,
    )  # fmt: skip
    return read_volume(save(film, folder)), fan


def us_part(top, bottom, left, right, kind=1):
    """Return a region of ultrasound with these first and last rows and columns; of tissue unless told otherwise."""
    return sequence_item(
        RegionSpatialFormat=kind, RegionLocationMinY0=top, RegionLocationMaxY1=bottom, RegionLocationMinX0=left,
        RegionLocationMaxX1=right,
    )  # fmt: skip


CURVE, BANNER = us_part(0, 14, 0, 119, kind=4), us_part(0, 14, 0, 119)
BOTH = [CURVE, us_part(20, 95, 0, 59), us_part(20, 500, 60, 500, kind=3)]


@pytest.mark.parametrize("name", ["image-2d", "image-colour"])
def test_of_ultrasound_only_what_shows_the_patient_is_scored(tmp_path, name):
    """A banner with the patient's name above a film was body, too."""
    volume, fan = film_with_a_banner(tmp_path, BOTH)
    body = prepare_scan(volume, preset(name), 32).body
    assert not body[:, :20].any()
    assert body[:, fan].mean() > 0.95


@pytest.mark.parametrize(
    "regions", [[], [CURVE], [us_part(300, 400, 0, 9)], [sequence_item(RegionSpatialFormat=1)]],
    ids=["none", "a curve", "outside", "nowhere"],
)  # fmt: skip
def test_regions_of_ultrasound_that_say_nothing_of_the_patient_leave_all(tmp_path, regions):
    volume, fan = film_with_a_banner(tmp_path, regions)
    assert prepare_scan(volume, preset("image-2d"), 32).body[:, fan].mean() > 0.95


def test_pictures_of_other_parts_of_the_patient_are_no_copies(tmp_path):
    volumes = [
        film_with_a_banner(tmp_path / name, parts)[0] for name, parts in (("a", BOTH), ("b", [BANNER]))
    ]
    assert np.array_equal(volumes[0].values, volumes[1].values)
    assert len({volume.content_sha256() for volume in volumes}) == 2
