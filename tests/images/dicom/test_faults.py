"""Series that are no even stack: a refusal that says what is wrong, and resampling where that is safe."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    MediaStorageDirectoryStorage,
    MRSpectroscopyStorage,
    SecondaryCaptureImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from dicom_files import (
    AXIAL,
    as_one_series,
    ct_values,
    enhanced_dataset,
    image_dataset,
    save_all,
    series_datasets,
)
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.stack import shift_tolerance_px
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.settings import ReadSettings

TILTED = (1.0, 0.0, 0.0, 0.0, np.cos(np.radians(20)), -np.sin(np.radians(20)))
"""Orientation of axial slices whose gantry is tilted by 20°; the table still moves along z."""


def linear_field(lps):
    """Return a value that is linear in space: what linear interpolation must give back exactly."""
    return 300 + lps @ (3.0, -5.0, 4.0)


def linear_series(places, orientation=AXIAL, rows=24, columns=10, spacing=(0.5, 0.8)):
    """Return slices at ``places`` (n, 3) of the linear field, in hundredths."""
    x, y = np.array(orientation).reshape(2, 3)
    row, column = np.indices((rows, columns))
    values = []
    for place in places:
        lps = np.array(place) + column[..., None] * spacing[1] * x + row[..., None] * spacing[0] * y
        values.append(np.round(100 * linear_field(lps)).astype(np.int32).astype(np.uint16))
    return series_datasets(values, spacing=spacing, orientation=orientation, places=places, RescaleSlope=0.01)


def assert_linear_where_covered(volume, fill):
    """Every voxel that was not filled has the field's value at its own place."""
    stored = volume.geometry.to_stored(volume.values)
    index = np.moveaxis(np.indices(stored.shape), 0, -1)
    ras = index @ volume.geometry.affine[:3, :3].T + volume.geometry.affine[:3, 3]
    expected = linear_field(ras * (-1, -1, 1))
    # Between a filled pixel and the slice's edge, interpolation mixes both: one pixel in from there it is exact.
    covered = np.abs(stored - expected) < 0.02
    filled = stored <= fill + 1e-3
    mixed = ~covered & ~filled
    assert covered.mean() > 0.5
    assert mixed.mean() < 0.06
    return covered


def test_missing_slices_are_named_and_can_be_bridged(tmp_path):
    places = [(0, 0, z) for z in (0, 2, 4, 8, 10, 12, 16)]
    save_all(linear_series(places), tmp_path)
    with pytest.raises(
        ScanReadError,
        match=r"2 missing slices: .*2\.00 mm apart, but 4\.00 mm after slice \d, 4\.00 mm .*--resample",
    ):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, resample=True)
    assert volume.is_resampled
    assert volume.geometry.shape[2] == 9
    assert "from 7 slices to 9 even ones, 2.00 mm apart" in volume.notes[0]
    assert assert_linear_where_covered(volume, -np.inf).all()


def test_uneven_gaps_are_named_and_can_be_made_even(tmp_path):
    places = [(0, 0, z) for z in (0, 4, 8, 12, 13.1, 20, 27)]
    save_all(linear_series(places), tmp_path)
    with pytest.raises(
        ScanReadError, match=r"uneven gaps .*1 × 7\.00 mm, 1 × 6\.90 mm, 1 × 1\.10 mm, 3 × 4\.00 mm"
    ):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, resample=True)
    assert volume.geometry.spacing[0] == pytest.approx(4)
    assert volume.geometry.shape[2] == 7
    assert assert_linear_where_covered(volume, -np.inf).all()


def test_a_tilted_gantry_is_named_and_can_be_straightened(tmp_path):
    save_all(linear_series([(0, 0, 3 * i) for i in range(8)], TILTED), tmp_path)
    with pytest.raises(ScanReadError, match=r"tilted gantry: .*7\.2 mm .*\(20\.0°\).*--resample"):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, resample=True)
    assert "tilted gantry" in volume.notes[0]
    columns, rows, n_slices = volume.geometry.shape
    assert (columns, n_slices) == (10, 8)
    assert rows > 24, "no slice is cut off"
    covered = assert_linear_where_covered(volume, volume.values.min())
    assert covered.sum() >= 0.9 * 8 * 23 * 10, "what the slices showed is all there"
    step = volume.geometry.affine[:3, :3]
    np.testing.assert_allclose(step.T @ step, np.diag(np.diag(step.T @ step)), atol=1e-5)


@pytest.mark.parametrize(("gap", "is_bridged"), [(6, True), (6.5, False)])
def test_holes_of_up_to_three_gaps_are_bridged(tmp_path, gap, is_bridged):
    places = [(0, 0, z) for z in (0, 2, 4, 4 + gap, 6 + gap, 8 + gap)]
    save_all(linear_series(places), tmp_path)
    if is_bridged:
        assert assert_linear_where_covered(read_volume(tmp_path, resample=True), -np.inf).all()
    else:
        with pytest.raises(ScanReadError, match="without inventing tissue"):
            read_volume(tmp_path, resample=True)


def test_a_hole_too_wide_is_not_bridged(tmp_path):
    places = [(0, 0, z) for z in (0, 2, 4, 20, 22, 24)]
    save_all(linear_series(places), tmp_path)
    with pytest.raises(ScanReadError, match=r"16\.00 mm .*without inventing tissue") as refused:
        read_volume(tmp_path, resample=True)
    assert "--resample" not in str(refused.value)


def test_rounded_positions_are_even(tmp_path):
    places = [(0, 0, round(0.625 * i, 2)) for i in range(12)]
    save_all(linear_series(places), tmp_path)
    volume = read_volume(tmp_path)
    assert volume.notes == ()
    assert volume.geometry.spacing[0] == pytest.approx(0.625, abs=1e-3)


def test_positions_rounded_to_tenths_are_even(tmp_path):
    """Slices 7 mm apart, turned by 8°: the gaps of the rounded positions are 6.96 to 7.07 mm."""
    turn = np.radians(7.7)
    along, normal = (0, np.cos(turn), np.sin(turn)), np.array([0, -np.sin(turn), np.cos(turn)])
    places = np.round(np.array([-110.5, -78.3, -72.8]) + 7 * np.arange(20)[:, np.newaxis] * normal, 1)
    save_all(linear_series(places, (1, 0, 0, *along), spacing=(0.86, 0.86)), tmp_path)
    volume = read_volume(tmp_path)
    assert volume.notes == ()
    assert not volume.is_resampled
    assert volume.geometry.spacing[0] == pytest.approx(7, abs=0.01)


OBLIQUE = (0.9, 0.1, -np.sqrt(0.18), 0.0, np.sqrt(0.18 / 0.19), 0.1 / np.sqrt(0.19))
"""Vectors at right angles along no axis of the patient: rounding shifts slices in their plane, both ways."""


def rounded_places(shift_mm=0.0, gap=5.3):
    """Return places of 20 oblique slices in tenths, shifted along their columns from first to last."""
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    number = np.arange(20)[:, np.newaxis]
    exact = np.array([-110.46, -78.33, -72.84]) + gap * number * normal
    return np.round(exact + shift_mm * number / 19 * OBLIQUE[3:], 1)


def test_tenths_shift_no_slice_of_small_pixels(tmp_path):
    """By up to a fifth of a pixel, which was told as a tilted gantry of 0.0°."""
    places = rounded_places()
    save_all(linear_series(places, OBLIQUE, spacing=(0.5, 0.5)), tmp_path)
    volume = read_volume(tmp_path)
    assert volume.notes == ()
    assert not volume.is_resampled
    assert volume.geometry.spacing[0] == pytest.approx(5.3, abs=0.01)


@pytest.mark.parametrize("gap", [0.5, 0.8, 1.0])
def test_tenths_make_no_thin_slices_uneven(tmp_path, gap):
    """They lie off their place by up to a tenth of a millimetre, which is a fifth of a gap."""
    save_all(linear_series(rounded_places(gap=gap), OBLIQUE, spacing=(0.5, 0.5)), tmp_path)
    volume = read_volume(tmp_path)
    assert volume.notes == ()
    assert volume.geometry.spacing[0] == pytest.approx(gap, abs=0.01)


@pytest.mark.parametrize("gaps", [[0.5] * 10 + [0.6] * 10, [0.5] * 10 + [1.0] + [0.5] * 10])
def test_tenths_do_not_excuse_thin_slices_that_are_uneven(tmp_path, gaps):
    places = [(0, 0, round(z, 1)) for z in np.cumsum([0, *gaps])]
    save_all(linear_series(places), tmp_path)
    with pytest.raises(ScanReadError, match=r"uneven gaps|1 missing slices"):
        read_volume(tmp_path)


def test_phases_that_lie_among_each_other_are_not_mixed(tmp_path):
    """Told as uneven gaps, which --resample made even: of slices with and without contrast in turn."""
    slices = linear_series([(0, 0, 2.0 * i + late) for late in (0, 0.7) for i in range(6)])
    for number, dataset in enumerate(slices):
        dataset.AcquisitionNumber = 1 + number // 6
    save_all(slices, tmp_path)
    for resample in (False, True):
        with pytest.raises(ScanReadError, match=r"2 acquisitions .*; 6, 6 slices"):
            read_volume(tmp_path, resample=resample)


def test_acquisitions_in_turn_that_lack_a_slice_are_uneven(tmp_path):
    """Odd and even slices are acquired one after the other (MR)."""
    turns = linear_series([(0, 0, 2.0 * i) for i in (0, 1, 2, 3, 5, 6, 7, 8)])
    for number, dataset in zip((0, 1, 2, 3, 5, 6, 7, 8), turns, strict=True):
        dataset.AcquisitionNumber = 1 + number % 2
    save_all(turns, tmp_path)
    with pytest.raises(ScanReadError, match="1 missing slices"):
        read_volume(tmp_path)


def test_acquisitions_one_behind_the_other_may_be_resampled(tmp_path):
    places = [(0, 0, 5.0 * i) for i in range(4)] + [(0, 0, 15 + 8.0 * i) for i in range(1, 5)]
    rows = linear_series(places)
    for number, dataset in enumerate(rows):
        dataset.AcquisitionNumber = 1 + number // 4
    save_all(rows, tmp_path)
    assert read_volume(tmp_path, resample=True).is_resampled


def test_what_rounding_to_tenths_does_is_told_along_rows_and_along_columns():
    """Of two positions each coordinate may be off by half a tenth; rows follow each other along the second vector."""
    turn = np.radians(45)
    along_row, along_column = (1, 0, 0), (0, np.cos(turn), np.sin(turn))
    positions = np.round([(0, 0, 0), (0, -2.1, 2.1), (0, -4.2, 4.2)], 1)
    found = shift_tolerance_px(positions, (*along_row, *along_column), (0.5, 0.4))
    np.testing.assert_allclose(found, [0.1 * np.sqrt(2) / 0.5, 0.1 / 0.4])
    # Neither less than of even ones nor so much that tissue would be moved.
    np.testing.assert_allclose(
        shift_tolerance_px(positions, (*along_row, *along_column), (5, 0.1)), [0.1, 0.5]
    )
    positions[1, 1] += 0.01
    np.testing.assert_allclose(
        shift_tolerance_px(positions, (*along_row, *along_column), (0.5, 0.4)), [0.1, 0.1]
    )


def test_tenths_do_not_excuse_a_tilt(tmp_path):
    save_all(linear_series(rounded_places(shift_mm=0.6), OBLIQUE, spacing=(0.5, 0.5)), tmp_path / "small")
    with pytest.raises(ScanReadError, match="tilted gantry"):
        read_volume(tmp_path / "small")
    save_all(linear_series(rounded_places(), OBLIQUE, spacing=(0.1, 0.1)), tmp_path / "tiny")
    with pytest.raises(ScanReadError, match="tilted gantry"):
        read_volume(tmp_path / "tiny")


def test_tenths_do_not_excuse_gaps_that_differ_by_more(tmp_path):
    save_all(linear_series([(0, 0, z) for z in (0, 5, 10, 15.3, 20, 25)]), tmp_path)
    with pytest.raises(ScanReadError, match="uneven gaps"):
        read_volume(tmp_path)


@pytest.mark.parametrize(("off", "is_even"), [(0.04, True), (0.07, False)])
def test_gaps_may_differ_by_a_share_of_their_mean(tmp_path, off, is_even):
    places = [(0, 0, 5.0 * i + off * (i % 2)) for i in range(8)]
    save_all(linear_series(places), tmp_path)
    if is_even:
        assert read_volume(tmp_path).geometry.spacing[0] == pytest.approx(5, abs=0.01)
    else:
        with pytest.raises(ScanReadError, match="uneven gaps"):
            read_volume(tmp_path)


def test_one_image_with_a_place_among_others_without_is_no_scan(tmp_path):
    datasets = series_datasets(ct_values(4))
    for dataset in datasets[1:]:
        del dataset.ImagePositionPatient
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError):
        read_volume(tmp_path)


def test_small_differences_of_gaps_that_add_up_are_uneven(tmp_path):
    """Each gap is within 1 % of the mean; the slice in the middle would lie 0.8 mm off."""
    gaps = [5.04] * 20 + [4.96] * 20
    save_all(linear_series([(0, 0, z) for z in np.cumsum([0, *gaps]).round(2)]), tmp_path)
    with pytest.raises(ScanReadError, match=r"uneven gaps between the slices: 20 × 4\.96 mm, 20 × 5\.04 mm"):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, resample=True)
    assert volume.is_resampled


def test_duplicates_are_refused(tmp_path):
    datasets = series_datasets(ct_values())
    double = series_datasets(ct_values(seed=1))[2]
    save_all(as_one_series([*datasets, double]), tmp_path)
    for resample in (False, True):
        with pytest.raises(ScanReadError, match="duplicates: 1 of 6 positions hold more than one image"):
            read_volume(tmp_path, resample=resample)


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime"])
def test_volumes_of_different_extent_are_no_duplicates(tmp_path, tag):
    long = series_datasets(ct_values(n=9), **{tag: 1})
    short = series_datasets(ct_values(n=4, seed=1), origin=(-3.0, -4.0, 9.0), **{tag: 2})
    save_all(as_one_series([*long, *short]), tmp_path)
    for resample in (False, True):
        with pytest.raises(
            ScanReadError, match=r"2 volumes of different extent .* of (9 and 4|4 and 9) slices"
        ):
            read_volume(tmp_path, resample=resample)


def test_copies_of_the_same_image_are_left_out_and_told(tmp_path):
    datasets = series_datasets(ct_values())
    save_all(datasets, tmp_path)
    save_all(datasets[2:4], tmp_path / "again")
    volume = read_volume(tmp_path)
    assert volume.geometry.shape[2] == 6
    assert volume.notes == ("2 files that are copies of others were left out.",)


def test_a_localiser_series_is_passed_over_and_told(tmp_path):
    save_all(series_datasets(ct_values()), tmp_path)
    scout = series_datasets(ct_values(n=1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesNumber=1)
    [path] = save_all(scout, tmp_path / "scout")
    volume = read_volume(tmp_path)
    assert volume.geometry.shape[2] == 6
    assert volume.notes == ("1 localiser series of the folder were left out.",)
    with pytest.raises(ScanReadError, match="a localiser"):
        read_volume(path)


def test_localisers_within_a_series_are_left_out_and_told(tmp_path):
    datasets = series_datasets(ct_values())
    datasets[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save_all(datasets, tmp_path)
    volume = read_volume(tmp_path)
    assert volume.geometry.shape[2] == 5
    assert "1 localiser images" in volume.notes[0]


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], "mixed orientation: 5 axial, 1 coronal"),
        (
            "ImageOrientationPatient",
            [1, 0, 0, 0, np.cos(np.pi / 9), np.sin(np.pi / 9)],
            "5 axial, 1 axial, turned against each other by up to 20°",
        ),
        ("PixelSpacing", [0.5, 0.7], r"different pixel spacing, 0\.5 to 0\.7 mm"),
        ("FrameOfReferenceUID", "1.2.3", "different frames of reference"),
        ("Units", "GML", "different units"),
    ],
)
def test_images_that_do_not_belong_together(tmp_path, tag, value, message):
    datasets = series_datasets(ct_values())
    setattr(datasets[1], tag, value)
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match=message):
        read_volume(tmp_path, resample=True)


def test_different_sizes(tmp_path):
    datasets = series_datasets(ct_values())
    small = series_datasets(ct_values(n=1, rows=8, columns=8))[0]
    small.ImagePositionPatient = [0, 0, 100]
    save_all(as_one_series([*datasets, small]), tmp_path)
    with pytest.raises(ScanReadError, match="different sizes in one series: 6 of 10 × 12, 1 of 8 × 8 pixels"):
        read_volume(tmp_path)


def test_slices_side_by_side_are_no_volume(tmp_path):
    places = [(20 * i, 0, 0) for i in range(4)]
    save_all(linear_series(places), tmp_path)
    with pytest.raises(ScanReadError, match="4 images lie side by side"):
        read_volume(tmp_path, resample=True)


def test_a_mosaic_says_what_to_do(tmp_path):
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}
    [path] = save_all(series_datasets(ct_values(n=1), **tags), tmp_path)
    with pytest.raises(ScanReadError, match=r"mosaic.*dcm2niix"):
        read_volume(path)


def test_dicom_that_is_no_scan(tmp_path):
    report = image_dataset(
        ct_values(n=1)[0], sop_class="1.2.840.10008.5.1.4.1.1.88.11", SeriesInstanceUID="1.2"
    )
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(report, tag)
    segmentation = image_dataset(
        ct_values(n=1)[0], sop_class="1.2.840.10008.5.1.4.1.1.66.4", SeriesInstanceUID="1.3"
    )
    paths = save_all([report, segmentation], tmp_path)
    with pytest.raises(ScanReadError, match=r"not an image \(Basic Text SR Storage\)"):
        read_volume(paths[0])
    with pytest.raises(ScanReadError, match="a segmentation, not a scan"):
        read_volume(paths[1])
    with pytest.raises(
        ScanReadError, match="expected a DICOM image series, found none: 1 × DICOM, but not an image"
    ):
        read_volume(tmp_path)
    assert pydicom.dcmread(paths[0]).SOPClassUID == report.SOPClassUID


def screenshot(of):
    """Return a secondary capture of the study of a data set, as scanners make of the dose."""
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    return image_dataset(
        pixels, sop_class=SecondaryCaptureImageStorage, SeriesInstanceUID="1.2.501", SeriesNumber=501,
        StudyInstanceUID=of.StudyInstanceUID, SeriesDescription="Dose Report",
    )  # fmt: skip


def test_screenshots_beside_the_scans_of_their_study_are_passed_over_and_told(tmp_path):
    """CT exports have a page of the dose: in a folder of normal scans it would be one of them."""
    datasets = series_datasets(ct_values())
    save_all(datasets, tmp_path)
    save_all([screenshot(datasets[0])], tmp_path / "dose")
    volume = read_volume(tmp_path)
    assert volume.geometry.shape == (12, 10, 6)
    assert volume.notes == ("1 secondary captures (screenshots, reports) of the folder were left out.",)
    found = discover_scans(tmp_path)
    assert [scan.shape for scan in found.scans] == [(12, 10, 6)]
    assert [item.reason for item in found.skipped] == [
        "series 501: a secondary capture (screenshot, report) beside the scans of its study"
    ]
    assert read_volume(tmp_path, series="501").values.shape == (1, 20, 30)
    assert [scan.shape for scan in discover_scans(tmp_path, ReadSettings(series="501")).scans] == [(20, 30)]


def test_secondary_captures_by_themselves_are_scans(tmp_path):
    """Scanned films, say: no other images of their study are there."""
    save_all([screenshot(series_datasets(ct_values())[0])], tmp_path)
    save_all(series_datasets(ct_values()), tmp_path / "other_study")
    assert {scan.shape for scan in discover_scans(tmp_path).scans} == {(20, 30), (12, 10, 6)}


def parts_of(values):
    """Return an enhanced image (n, rows, columns) stored in two files."""
    half = len(values) // 2
    parts = [
        enhanced_dataset(values[:half]),
        enhanced_dataset(values[half:], origin=(-3.0, -4.0, 5.0 + 2 * half)),
    ]
    for part in as_one_series(parts):
        part.ConcatenationUID, part.InConcatenationTotalNumber = "1.2.3.4", 2
    return parts


def test_the_parts_of_a_multi_frame_image_are_one_scan(tmp_path):
    values = ct_values()
    paths = save_all(parts_of(values), tmp_path)
    for path in (tmp_path, paths[1]):
        volume = read_volume(path)
        assert volume.geometry.shape == (12, 10, 6)
        assert volume.geometry.spacing[0] == pytest.approx(2)
        assert set(volume.dicom_files) == set(paths)
    assert len(discover_scans(tmp_path).scans) == 1


def test_a_part_of_a_multi_frame_image_is_no_scan(tmp_path):
    [path] = save_all(parts_of(ct_values())[:1], tmp_path)
    for given in (tmp_path, path):
        with pytest.raises(
            ScanReadError, match=r"1 of the 2 files that hold parts .*Put all of them in one folder"
        ):
            read_volume(given)


@pytest.mark.parametrize(
    ("sop_class", "told"),
    [
        (MRSpectroscopyStorage, "a spectroscopy"),
        (VLWholeSlideMicroscopyImageStorage, "tiles of a whole slide"),
    ],
)
def test_more_dicom_with_rows_and_columns_that_is_no_scan(tmp_path, sop_class, told):
    one = image_dataset(ct_values(n=1)[0], sop_class=sop_class, SeriesInstanceUID="1.2.3", NumberOfFrames=1)
    [path] = save_all([one], tmp_path)
    with pytest.raises(ScanReadError, match=told):
        read_volume(path)


def test_the_index_of_a_medium_says_to_give_its_folder(tmp_path):
    one = image_dataset(ct_values(n=1)[0], sop_class=MediaStorageDirectoryStorage)
    one.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    with pytest.raises(ScanReadError, match=r"DICOMDIR.*Give the folder"):
        read_volume(tmp_path / "DICOMDIR")


@pytest.mark.parametrize(
    "keyword",
    ["SeriesNumber", "InstanceNumber", "AcquisitionNumber", "EchoTime", "TriggerTime", "WindowCenter"],
)
def test_text_where_a_number_that_is_not_needed_should_be(tmp_path, keyword):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        dataset.WindowCenter, dataset.WindowWidth = 40, 80
        tag = Tag(tag_for_keyword(keyword))
        dataset[tag] = RawDataElement(tag, dictionary_VR(tag), 4, b"4,5x", 0, False, True)
    with disable_value_validation():
        save_all(datasets, tmp_path)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(np.sort(volume.values.ravel()), np.arange(ct_values().size))
    assert volume.notes == ()


def test_an_orientation_of_zeros_is_no_mixed_one(tmp_path):
    save_all(series_datasets(ct_values(), ImageOrientationPatient=[0] * 6), tmp_path)
    with pytest.raises(ScanReadError, match="make no grid"):
        read_volume(tmp_path)


@pytest.mark.parametrize("is_multi_frame", [False, True])
def test_a_slope_of_zero_is_refused(tmp_path, is_multi_frame):
    """One slice of the same value in a scan passed for a slice."""
    if is_multi_frame:
        datasets = [enhanced_dataset(ct_values())]
        (rescale,) = datasets[0].PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence
    else:
        datasets = series_datasets(ct_values())
        rescale = datasets[2]
    rescale.RescaleSlope = 0
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match="RescaleSlope is 0"):
        read_volume(tmp_path)


@pytest.mark.parametrize("is_multi_frame", [False, True])
def test_a_slope_of_zero_where_all_pixels_are_0_is_read(tmp_path, is_multi_frame):
    """As in a slice of PET that no activity is in."""
    values = ct_values()
    values[2] = 0
    if is_multi_frame:
        datasets = [enhanced_dataset(values)]
        (rescale,) = datasets[0].PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence
    else:
        datasets = series_datasets(values)
        rescale = datasets[2]
    rescale.RescaleSlope, rescale.RescaleIntercept = 0, 0
    save_all(datasets, tmp_path)
    read = read_volume(tmp_path).values
    assert sum(len(np.unique(one)) == 1 for one in read) == 1


def without_rescale(datasets):
    for dataset in datasets:
        del dataset.RescaleSlope, dataset.RescaleIntercept


@pytest.mark.parametrize("modality", ["CT", "PT", "MR"])
def test_images_without_the_rescale_that_others_have_are_refused(tmp_path, modality):
    """They were read as stored, among others in Hounsfield units, for instance."""
    datasets = series_datasets(ct_values(), Modality=modality, RescaleIntercept=-1024)
    without_rescale(datasets[:2])
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match="2 of 6 images say no rescale"):
        read_volume(tmp_path)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_frames_without_the_rescale_that_others_of_their_file_have_are_refused(tmp_path, modality):
    dataset = enhanced_dataset(ct_values())
    dataset.Modality = modality
    for number in (1, 3):
        del dataset.PerFrameFunctionalGroupsSequence[number].PixelValueTransformationSequence
    save_all([dataset], tmp_path)
    with pytest.raises(ScanReadError, match="2 of 6 images say no rescale"):
        read_volume(tmp_path)


def test_images_of_mr_without_rescale_are_read_beside_others_that_are_as_stored(tmp_path):
    values = ct_values()
    datasets = series_datasets(values, Modality="MR")
    without_rescale(datasets[:2])
    save_all(datasets, tmp_path)
    np.testing.assert_array_equal(np.sort(read_volume(tmp_path).values.ravel()), np.sort(values.ravel()))


@pytest.mark.parametrize(("modality", "is_told"), [("PT", True), ("MR", False)])
def test_pet_without_any_rescale_is_told(tmp_path, modality, is_told):
    datasets = series_datasets(ct_values(), Modality=modality)
    without_rescale(datasets)
    save_all(datasets, tmp_path)
    volume = read_volume(tmp_path)
    assert any("no known unit" in note for note in volume.notes) == is_told


def test_a_rescale_that_is_no_number_is_not_passed_over(tmp_path):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        dataset[0x0028, 0x1053] = RawDataElement(Tag(0x0028, 0x1053), "DS", 4, b"0,5 ", 0, False, True)
    with disable_value_validation():
        save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match="what the header says of them, are damaged"):
        read_volume(tmp_path)
