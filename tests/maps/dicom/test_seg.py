"""DICOM-SEG: frame for frame on the source images, as highdicom, SimpleITK and plain pydicom read it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from dicom_files import (
    CARD,
    PATIENT_NAME,
    as_one_series,
    ct_values,
    enhanced_dataset,
    image_dataset,
    save_all,
    sequence_item,
    series_datasets,
)
from napari_dinoad.errors import GeometryError, ScanReadError, SettingError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.seg import build_seg, save_seg
from napari_dinoad.maps.dicom.seg_content import MAX_REGION_SEGMENTS
from napari_dinoad.maps.dicom.sources import source_fault

OBLIQUE = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)
"""Nearly coronal, turned by 16°."""


def save_series(folder, values, **tags):
    return save_all(series_datasets(values, **tags), folder)


def marked(volume, fraction=0.15, seed=1):
    """Return a mask of scattered voxels."""
    hot = np.random.default_rng(seed).random(volume.values.shape) < fraction
    return AnomalyMap(np.where(hot, np.float32(3), np.float32(0)), volume).mask(0.01)


def world_points(affine, indices):
    return indices @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]


def places_of(mask):
    """Return the RAS places (n, 3) of the marked voxels."""
    geometry = mask.geometry
    return world_points(geometry.affine, np.argwhere(geometry.to_stored(mask.values)))


def assert_same_places(found, mask, atol=1e-3):
    """Assert that a volume of highdicom's holds the marked voxels, each in its place."""
    assert_alike(places_of(mask), world_points(found.get_affine("RAS"), np.argwhere(found.array)), atol)


def assert_alike(ours, theirs, atol=1e-3):
    assert len(ours) == len(theirs) > 0
    np.testing.assert_allclose(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)], atol=atol)


def frames_by_hand(path):
    """Return (n, rows, columns) bits and each frame's position, of a BINARY DICOM-SEG, with pydicom alone."""
    dataset = pydicom.dcmread(path)
    n, rows, columns = int(dataset.NumberOfFrames), int(dataset.Rows), int(dataset.Columns)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    groups = dataset.PerFrameFunctionalGroupsSequence
    places = [np.array(g.PlanePositionSequence[0].ImagePositionPatient, float) for g in groups]
    return bits[: n * rows * columns].reshape(n, rows, columns), places, dataset


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1.0, 0), (-1.0, 0, 0, 0, 1.0, 0), OBLIQUE])
def test_marked_voxels_lie_where_the_scan_says(tmp_path, orientation):
    save_series(tmp_path / "ct", ct_values(), orientation=orientation, spacing=(0.5, 0.7), gap=2.5)
    volume = read_volume(tmp_path / "ct")
    mask = marked(volume)
    save_seg(tmp_path / "seg.dcm", mask, CARD)

    seg = hd.seg.segread(tmp_path / "seg.dcm")
    assert mask.values.sum() > 50
    assert_same_places(seg.get_volume(combine_segments=True), mask)


def test_frames_refer_to_their_source_images_and_empty_ones_are_kept(tmp_path):
    paths = save_series(tmp_path / "ct", ct_values())
    volume = read_volume(tmp_path / "ct")
    values = np.zeros(volume.values.shape, np.float32)
    values[2, 3:5, 4:9] = 4
    save_seg(tmp_path / "seg.dcm", AnomalyMap(values, volume).mask(0.01), CARD)
    frames, places, dataset = frames_by_hand(tmp_path / "seg.dcm")
    sources = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in paths}
    assert len(frames) == 6
    assert sorted(frame.sum() for frame in frames) == [0] * 5 + [10]
    for group, place in zip(dataset.PerFrameFunctionalGroupsSequence, places, strict=True):
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        original = sources[source.ReferencedSOPInstanceUID]
        assert list(place) == [float(x) for x in original.ImagePositionPatient]
        assert source.SpatialLocationsPreserved == "YES"
    (series,) = dataset.ReferencedSeriesSequence
    some = next(iter(sources.values()))
    assert series.SeriesInstanceUID == some.SeriesInstanceUID
    assert dataset.StudyInstanceUID == some.StudyInstanceUID
    assert dataset.FrameOfReferenceUID == some.FrameOfReferenceUID
    assert dataset.SeriesInstanceUID != some.SeriesInstanceUID
    assert str(dataset.PatientName) == PATIENT_NAME, "the standard wants the patient here, and only here"
    shared = dataset.SharedFunctionalGroupsSequence[0]
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == list(
        some.ImageOrientationPatient
    )
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == list(some.PixelSpacing)


def test_what_the_standard_and_dcmqi_ask_of_a_segment(tmp_path):
    save_series(tmp_path / "ct", ct_values())
    mask = marked(read_volume(tmp_path / "ct"))
    save_seg(tmp_path / "seg.dcm", mask, CARD)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert (dataset.Modality, dataset.SegmentationType, dataset.BitsAllocated) == ("SEG", "BINARY", 1)
    assert (dataset.SamplesPerPixel, dataset.PhotometricInterpretation) == (1, "MONOCHROME2")
    assert dataset.ContentLabel == "ANOMALIES"
    assert dataset.Manufacturer and dataset.ManufacturerModelName and dataset.SoftwareVersions
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentNumber == 1
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentAlgorithmName == "napari-dinoad"
    assert segment.SegmentLabel == "Anomalies at a rate of 1 % of normal voxels"
    for sequence in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"):
        (code,) = segment[sequence].value
        assert code.CodeValue and code.CodingSchemeDesignator == "SCT" and code.CodeMeaning
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "napari-dinoad"
    assert "scorer=ar-cnn" in algorithm.AlgorithmParameters
    assert "backbone=embedded" in algorithm.AlgorithmParameters
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        holder = group if "SegmentIdentificationSequence" in group else shared
        assert holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
        assert len(group.FrameContentSequence[0].DimensionIndexValues) == len(dataset.DimensionIndexSequence)


def test_a_segment_for_each_region(tmp_path):
    save_series(tmp_path / "ct", ct_values(8, 20, 22))
    volume = read_volume(tmp_path / "ct")
    values = np.zeros(volume.values.shape, np.float32)
    for i, height in enumerate((5.0, 4.0, 3.0)):
        values[1 + 2 * i, 2:5, 4 * i : 4 * i + 3] = height
    mask = AnomalyMap(values, volume).mask(0.01).only({1, 3})
    seg = build_seg(mask, CARD, "regions")
    assert [s.SegmentLabel.split(",")[0] for s in seg.SegmentSequence] == ["Region 1", "Region 3"]
    array = seg.get_volume(segment_numbers=[2]).array[..., 0]
    assert array.sum() == 9
    assert int(seg.NumberOfFrames) == 16


def test_many_regions_share_the_last_segment(tmp_path):
    save_series(tmp_path / "ct", ct_values(6, 40, 40))
    mask = marked(read_volume(tmp_path / "ct"), 0.004)
    assert len(mask.regions()) > MAX_REGION_SEGMENTS + 1
    seg = build_seg(mask, None, "regions")
    assert len(seg.SegmentSequence) == MAX_REGION_SEGMENTS + 1
    assert "further regions" in seg.SegmentSequence[-1].SegmentLabel
    assert seg.get_volume(combine_segments=True).array.astype(bool).sum() == mask.values.sum()
    sizes = [
        seg.get_volume(segment_numbers=[number]).array.sum() for number in range(1, MAX_REGION_SEGMENTS + 2)
    ]
    n_voxels = [region.n_voxels for region in mask.regions()]
    assert sizes == [*n_voxels[:MAX_REGION_SEGMENTS], sum(n_voxels[MAX_REGION_SEGMENTS:])]


@pytest.mark.parametrize("segments", ["single", "regions"])
def test_an_empty_mask(tmp_path, segments):
    save_series(tmp_path / "ct", ct_values())
    volume = read_volume(tmp_path / "ct")
    mask = AnomalyMap(np.zeros(volume.values.shape, np.float32), volume).mask(0.01)
    save_seg(tmp_path / "seg.dcm", mask, CARD, segments)
    frames, _, _ = frames_by_hand(tmp_path / "seg.dcm")
    assert len(frames) == 6
    assert not frames.any()


def test_enhanced_multi_frame_source(tmp_path):
    save_all([enhanced_dataset(ct_values())], tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    mask = marked(volume)
    seg = build_seg(mask, CARD)
    assert_same_places(seg.get_volume(combine_segments=True), mask)
    group = seg.PerFrameFunctionalGroupsSequence[2]
    assert "ReferencedFrameNumber" in group.DerivationImageSequence[0].SourceImageSequence[0]


def test_frames_of_one_time_point_refer_to_those_of_no_other(tmp_path):
    places = [(-3.0, -4.0, 2.0 * (i % 3)) for i in range(6)]
    dataset = enhanced_dataset(ct_values(), places=places)
    for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence = [sequence_item(TemporalPositionIndex=1 + i // 3)]
    [path] = save_all([dataset], tmp_path / "ct")
    for frame, numbers in enumerate(({1, 2, 3}, {4, 5, 6})):
        seg = build_seg(marked(read_volume(path, frame=frame)), CARD)
        sources = [
            source.ReferencedFrameNumber
            for group in seg.PerFrameFunctionalGroupsSequence
            for source in group.DerivationImageSequence[0].SourceImageSequence
        ]
        assert len(sources) == 3
        assert set(sources) == numbers


def test_stacks_of_one_image_have_orientation_and_pixel_measures_of_their_own(tmp_path):
    """highdicom takes both from what all frames share."""
    dataset = enhanced_dataset(
        ct_values(), places=[(0, 0, 0), (0, 3, 0), (0, 6, 0), (0, 0, 9), (0, 0, 11), (0, 0, 13)]
    )
    shared = dataset.SharedFunctionalGroupsSequence[0]
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence = [sequence_item(StackID="12"[i // 3])]
        orientation = ((1, 0, 0, 0, 0, -1), (1, 0, 0, 0, 1, 0))[i // 3]
        group.PlaneOrientationSequence = [sequence_item(ImageOrientationPatient=list(orientation))]
        group.PixelMeasuresSequence = [sequence_item(PixelSpacing=[0.5, 0.5], SliceThickness=(3, 2)[i // 3])]
    [path] = save_all([dataset], tmp_path / "mr")
    for frame, numbers in enumerate(({1, 2, 3}, {4, 5, 6})):
        volume = read_volume(path, frame=frame)
        mask = marked(volume)
        seg = build_seg(mask, CARD)
        assert_same_places(seg.get_volume(combine_segments=True), mask)
        assert {
            source.ReferencedFrameNumber
            for group in seg.PerFrameFunctionalGroupsSequence
            for source in group.DerivationImageSequence[0].SourceImageSequence
        } == numbers


def test_rounded_direction_cosines_of_the_source_are_not_handed_on(tmp_path):
    """highdicom reads no volume of vectors that are not at right angles."""
    datasets = series_datasets(ct_values(), orientation=OBLIQUE)
    for dataset in datasets:
        dataset.ImageOrientationPatient = [0.961, 0.281, 0, 0, 0.001, -1]
    save_all(datasets, tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    mask = marked(volume)
    found = build_seg(mask, CARD).get_volume(combine_segments=True)
    assert_same_places(found, mask)


ROUNDED = {
    "two micrometres off": [(-3.0, -4.0, 2.0 * i + 0.002 * (i % 2)) for i in range(6)],
    "hundredths": [(-3.0, -4.0, round(2.003 * i, 2)) for i in range(6)],
    "tenths": [(-3.0, -4.0, round(1.247 * i, 1)) for i in range(6)],
}
"""Positions that are read as even, and that readers which allow 1e-3 mm take for uneven."""


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("places", ROUNDED.values(), ids=ROUNDED)
def test_frames_of_a_series_with_rounded_positions_are_even(tmp_path, places, enhanced):
    spacing = (1.2, 1.2)
    if enhanced:
        datasets = [enhanced_dataset(ct_values(), places=places, spacing=spacing)]
    else:
        datasets = series_datasets(ct_values(), places=places, spacing=spacing)
    save_all(datasets, tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    mask = marked(volume)
    save_seg(tmp_path / "seg.dcm", mask, CARD)

    seg = hd.seg.segread(tmp_path / "seg.dcm")
    found = seg.get_volume(combine_segments=True)
    gap = float(np.linalg.norm(volume.geometry.affine[:3, 2]))
    np.testing.assert_allclose(found.spacing, (gap, *spacing), rtol=1e-6)
    assert_same_places(found, mask, atol=1e-4)
    originals = {dataset.SOPInstanceUID: place for dataset, place in zip(datasets, places, strict=False)}
    _, written, dataset = frames_by_hand(tmp_path / "seg.dcm")
    for group, place in zip(dataset.PerFrameFunctionalGroupsSequence, written, strict=True):
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        number = int(source.get("ReferencedFrameNumber", 1))
        original = places[number - 1] if enhanced else originals[source.ReferencedSOPInstanceUID]
        assert np.abs(place - original).max() < 0.1, "each frame refers to the image beside which it lies"

    sitk = pytest.importorskip("SimpleITK", reason="the extra itk is not installed")
    np.testing.assert_allclose(
        sitk.ReadImage(str(tmp_path / "seg.dcm")).GetSpacing(), (*spacing, gap), rtol=1e-6
    )


def test_small_pixels_of_a_series_rounded_to_tenths_have_a_seg(tmp_path):
    """Slices lie up to a fifth of a pixel off the grid, which is what the rounding does."""
    turned = (0.9, 0.1, -np.sqrt(0.18), 0.0, np.sqrt(0.18 / 0.19), 0.1 / np.sqrt(0.19))
    normal = np.cross(turned[:3], turned[3:])
    places = np.round(np.array([-110.46, -78.33, -72.84]) + 5.3 * np.arange(20)[:, np.newaxis] * normal, 1)
    save_all(series_datasets(ct_values(20), places=places, orientation=turned), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    found = build_seg(marked(volume), CARD).get_volume(combine_segments=True)
    gap = float(np.linalg.norm(volume.geometry.affine[:3, 2]))
    np.testing.assert_allclose(found.spacing, (gap, 0.5, 0.5), rtol=1e-6)


def test_source_images_of_one_uid_cannot_be_referred_to(tmp_path):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    save_all(datasets, tmp_path / "all")
    volume = read_volume(tmp_path / "all")
    assert "same SOPInstanceUID" in source_fault(volume)
    datasets = series_datasets(ct_values())
    for dataset in datasets[2:4]:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    save_all(datasets, tmp_path / "two")
    with pytest.raises(SettingError, match=r"same SOPInstanceUID.* Save the mask as NIfTI"):
        build_seg(marked(read_volume(tmp_path / "two")), CARD)


def test_a_multi_frame_source_in_several_files_is_told_before(tmp_path):
    parts = [enhanced_dataset(ct_values()[:3]), enhanced_dataset(ct_values()[3:], origin=(-3.0, -4.0, 11.0))]
    for part in as_one_series(parts):
        part.ConcatenationUID, part.InConcatenationTotalNumber = "1.2.3.4", 2
    save_all(parts, tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    assert "a multi-frame image in several files" in source_fault(volume)
    with pytest.raises(SettingError, match=r"in several files\. Save the mask as NIfTI\."):
        build_seg(marked(volume))


def test_multi_frame_files_of_one_frame_each_are_told_before(tmp_path):
    """As some archives split them: highdicom takes one such file only."""
    parts = [
        enhanced_dataset(one[None], origin=(-3.0, -4.0, 5.0 + 2 * place))
        for place, one in enumerate(ct_values())
    ]
    save_all(as_one_series(parts), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    assert volume.values.shape == (6, 10, 12)
    assert "a multi-frame image in several files" in source_fault(volume)


def test_a_resampled_series_has_planes_of_its_own(tmp_path):
    places = [(-3.0, -4.0, z) for z in (0.0, 2.0, 4.0, 8.0, 10.0, 12.0)]
    save_series(tmp_path / "ct", ct_values(), places=places)
    volume = read_volume(tmp_path / "ct", resample=True)
    assert volume.is_resampled
    mask = marked(volume)
    seg = build_seg(mask, CARD)
    assert int(seg.NumberOfFrames) == 7
    assert_same_places(seg.get_volume(combine_segments=True), mask)
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 6


@pytest.mark.parametrize("orientation", [["L", "F"], None])
def test_an_image_without_a_place(tmp_path, orientation):
    dataset = image_dataset(
        ct_values(1)[0].astype(np.uint16),
        sop_class=DigitalXRayImageStorageForPresentation,
        Modality="DX",
        SeriesInstanceUID=generate_uid(),
        SeriesNumber=1,
        PixelAspectRatio=["2", "1"],
        **({"PatientOrientation": orientation} if orientation else {}),
    )
    save_all([dataset], tmp_path / "xray")
    volume = read_volume(tmp_path / "xray")
    assert not volume.geometry.is_physical
    mask = marked(volume)
    save_seg(tmp_path / "seg.dcm", mask, CARD)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[:120]
    np.testing.assert_array_equal(bits.reshape(10, 12), mask.values[0])
    assert dataset["PatientOrientation"].value == (orientation or ""), "it must be there, and may be empty"
    assert dataset.PixelAspectRatio == [2, 1]


def test_simpleitk_reads_the_same_voxels(tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="the extra itk is not installed")
    save_series(tmp_path / "ct", ct_values(), orientation=OBLIQUE, spacing=(0.5, 0.7), gap=2.5)
    volume = read_volume(tmp_path / "ct")
    mask = marked(volume)
    save_seg(tmp_path / "seg.dcm", mask, CARD)
    image = sitk.ReadImage(str(tmp_path / "seg.dcm"))
    array = sitk.GetArrayFromImage(image)
    theirs = np.array(
        [image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]) for index in np.argwhere(array)]
    ) * (-1, -1, 1)
    assert_alike(places_of(mask), theirs)


def test_slices_as_even_as_reading_asks_have_a_seg(tmp_path):
    """A twentieth of a millimetre is more than a tenth of a small pixel, but not of the gap."""
    places = [(-3, -4, z) for z in (0, 5.04, 10, 15.04, 20)]
    save_all(
        series_datasets(ct_values(n=5), spacing=(0.3, 0.3), places=places),
        tmp_path / "ct",
    )
    seg = build_seg(marked(read_volume(tmp_path / "ct")))
    found = seg.get_volume(combine_segments=True)
    np.testing.assert_allclose(found.spacing, (5.0, 0.3, 0.3), rtol=1e-6)


def test_a_mask_that_does_not_line_up_is_refused(tmp_path):
    save_series(tmp_path / "ct", ct_values())
    volume = read_volume(tmp_path / "ct")
    moved = volume.geometry.affine.copy()
    moved[2, 3] += 0.5
    wrong = Volume(volume.values, Geometry(volume.geometry.shape, moved), dicom_files=volume.dicom_files)
    with pytest.raises(GeometryError, match=r"lies 0\.500 mm from its source"):
        build_seg(marked(wrong))


def test_other_scans_and_missing_sources_are_told(tmp_path):
    plain = Volume(np.zeros((3, 4, 5), np.float32), Geometry((5, 4, 3), np.eye(4)))
    with pytest.raises(SettingError, match="expected a scan read from DICOM"):
        build_seg(marked(plain))
    paths = save_series(tmp_path / "ct", ct_values())
    mask = marked(read_volume(tmp_path / "ct"))
    paths[0].unlink()
    with pytest.raises(ScanReadError, match="cannot be read again"):
        save_seg(tmp_path / "seg.dcm", mask)
    assert not (tmp_path / "seg.dcm").exists()


def test_headers_without_what_is_needed_are_told_without_the_patients_name(tmp_path):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        del dataset.FrameOfReferenceUID
    save_all(datasets, tmp_path / "ct")
    mask = marked(read_volume(tmp_path / "ct"))
    with pytest.raises(SettingError, match="lack FrameOfReferenceUID") as error:
        build_seg(mask)
    assert "Secret" not in str(error.value)


def test_headers_stripped_of_the_patient_are_enough(tmp_path):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        dataset.DeidentificationMethod = ""
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
            "StudyDate",
        ):
            delattr(dataset, keyword)
    save_all(datasets, tmp_path / "ct")
    save_seg(tmp_path / "seg.dcm", marked(read_volume(tmp_path / "ct")))
    written = hd.seg.segread(tmp_path / "seg.dcm")
    assert written.PatientID in ("", None)
    assert "DeidentificationMethod" not in written, "empty, it would be against the standard"


def test_a_real_ct_voxel_for_voxel(tmp_path):
    """Shuffled copies of a real series: what is marked is what highdicom and SimpleITK find marked in the CT."""
    shared = Path(os.environ.get("DINOAD_SHARED", Path(__file__).parents[4] / "shared"))
    folder = shared / "data" / "dicom" / "ct_head_5mm"
    if not folder.is_dir():
        pytest.skip("the development data are not here")
    rng = np.random.default_rng(0)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for number, path in zip(rng.permutation(len(files)), files, strict=True):
        shutil.copy(path, tmp_path / f"x{number:03d}")
    volume = read_volume(tmp_path)
    # Bone, so that the CT itself says where the mask must be.
    mask = AnomalyMap(np.where(volume.values > 300, np.float32(3), np.float32(0)), volume).mask(0.01)
    save_seg(tmp_path / "seg.dcm", mask, CARD)

    ct = hd.get_volume_from_series([pydicom.dcmread(path) for path in tmp_path.glob("x*")])
    seg = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    np.testing.assert_array_equal(seg.affine, ct.affine)
    np.testing.assert_array_equal(seg.array > 0, ct.array > 300)

    sitk = pytest.importorskip("SimpleITK", reason="the extra itk is not installed")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    theirs, marked_there = sitk.ReadImage(names), sitk.ReadImage(str(tmp_path / "seg.dcm"))
    marked_there = sitk.Resample(marked_there, theirs, sitk.Transform(), sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(marked_there) > 0, sitk.GetArrayFromImage(theirs) > 300
    )


@pytest.mark.parametrize(
    "messy",
    [
        {"PatientBirthDate": "unknown"},
        {"PatientSex": "female"},
        {"StudyTime": "12:30"},
        {"SpecificCharacterSet": "ISO_IR 999"},
        {"PatientName": "Müller^Jürgen", "SpecificCharacterSet": "ISO_IR 100"},
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom's own, on writing and reading such tags
def test_headers_against_the_standard_do_not_stop_it(tmp_path, messy, monkeypatch):
    for mode in ("reading_validation_mode", "writing_validation_mode"):
        monkeypatch.setattr(pydicom.config.settings, mode, pydicom.config.IGNORE)
    save_series(tmp_path / "ct", ct_values(), **messy)
    monkeypatch.undo()
    save_seg(tmp_path / "seg.dcm", marked(read_volume(tmp_path / "ct")))
    written = hd.seg.segread(tmp_path / "seg.dcm")
    if "PatientName" in messy:
        assert str(written.PatientName) == "Müller^Jürgen"
    for keyword in {"PatientBirthDate", "PatientSex", "StudyTime"} & set(messy):
        assert written[keyword].value in ("", None)
