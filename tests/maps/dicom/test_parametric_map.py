"""DICOM parametric maps: the map's own values in the place of the source images, as highdicom reads them."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_files import (
    CARD,
    PATIENT_NAME,
    ct_values,
    enhanced_dataset,
    save_all,
    sequence_item,
    series_datasets,
)
from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.parametric_map import build_dicom_map, save_dicom_map
from napari_dinoad.maps.dicom.seg import build_seg

OBLIQUE = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)
"""Nearly coronal, turned by 16°."""


def map_of(volume, seed=1):
    values = np.random.default_rng(seed).uniform(0, 12, volume.values.shape)
    return AnomalyMap(values.astype(np.float32), volume)


def saved_map(folder, **geometry):
    """Return the map of a series that was saved, read again by highdicom, and the map."""
    save_all(series_datasets(ct_values(), **geometry), folder / "ct")
    anomaly_map = map_of(read_volume(folder / "ct"))
    return hd.imread(save_dicom_map(folder / "map.dcm", anomaly_map, CARD)), anomaly_map


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1.0, 0), (-1.0, 0, 0, 0, 1.0, 0), OBLIQUE])
def test_every_voxel_has_its_value_in_its_place(tmp_path, orientation):
    read, anomaly_map = saved_map(tmp_path, orientation=orientation, spacing=(0.5, 0.7), gap=2.5)
    theirs = read.get_volume(dtype=np.float32)
    to_ours = np.linalg.inv(anomaly_map.geometry.affine) @ theirs.get_affine("RAS")
    indices = np.argwhere(np.ones(theirs.array.shape, bool))
    ours = indices @ to_ours[:3, :3].T + to_ours[:3, 3]
    np.testing.assert_allclose(ours, np.round(ours), atol=1e-3)
    stored = anomaly_map.geometry.to_stored(anomaly_map.values)
    at_ours = stored[tuple(np.round(ours).astype(int).T)]
    np.testing.assert_array_equal(theirs.array.ravel(), at_ours)
    assert len(np.unique(at_ours)) == stored.size


def test_it_says_what_the_values_are_and_what_made_them(tmp_path):
    read, anomaly_map = saved_map(tmp_path)
    source = pydicom.dcmread(anomaly_map.source.dicom_files[0])
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
    assert (read.StudyInstanceUID, read.FrameOfReferenceUID) == (
        source.StudyInstanceUID,
        source.FrameOfReferenceUID,
    )
    assert read.SeriesInstanceUID != source.SeriesInstanceUID
    assert str(read.PatientName) == PATIENT_NAME
    assert read.ContentQualification == "RESEARCH"
    assert read.Laterality == "", "it must be there, and may be empty"
    assert "ar-cnn" in read.DerivationDescription and "normal scans: 12" in read.DerivationDescription
    (mapping,) = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.LUTLabel == "-LOG10 P"
    (window,) = read.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    assert window.WindowCenter - window.WindowWidth / 2 == pytest.approx(1.3), (
        "the heatmap begins at p = 0.05"
    )
    names = {pydicom.dcmread(path).SOPInstanceUID for path in anomaly_map.source.dicom_files}
    groups = read.PerFrameFunctionalGroupsSequence
    referred = [g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for g in groups]
    assert len(groups) == 6 and set(referred) == names


def test_a_frame_of_a_series_over_time_refers_to_its_own_images(tmp_path):
    dataset = enhanced_dataset(ct_values(), places=[(-3.0, -4.0, 2.0 * (i % 3)) for i in range(6)])
    for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence = [sequence_item(TemporalPositionIndex=1 + i // 3)]
    [path] = save_all([dataset], tmp_path / "ct")
    made = build_dicom_map(map_of(read_volume(path, frame=1)), CARD)
    referred = [
        source.ReferencedFrameNumber
        for group in made.PerFrameFunctionalGroupsSequence
        for source in group.DerivationImageSequence[0].SourceImageSequence
    ]
    assert sorted(referred) == [4, 5, 6]


def test_one_image_of_a_film_of_one_slice(tmp_path):
    """As MR of the beating heart: all frames of a file lie at one place, and one was chosen."""
    values = ct_values(5)
    dataset = enhanced_dataset(values, places=[(-3.0, -4.0, 5.0)] * 5)
    for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence = [sequence_item(TemporalPositionIndex=1 + i)]
    [path] = save_all([dataset], tmp_path / "mr")
    anomaly_map = map_of(read_volume(path, frame=2))
    for made in (build_dicom_map(anomaly_map), build_seg(anomaly_map.mask(1e-6))):
        (group,) = made.PerFrameFunctionalGroupsSequence
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedFrameNumber == 3
        assert group.PlanePositionSequence[0].ImagePositionPatient == [-3, -4, 5]
    marked = anomaly_map.geometry.to_stored(anomaly_map.mask(1e-6).values)
    np.testing.assert_array_equal(made.pixel_array, marked.T)


def test_scans_that_cannot_have_one_are_told(tmp_path):
    plain = Volume(np.zeros((2, 3, 4), np.float32), Geometry((4, 3, 2), np.eye(4)))
    with pytest.raises(
        SettingError, match=r"^DICOM parametric map: expected a scan read.*Save the map as NIfTI\.$"
    ):
        build_dicom_map(map_of(plain))
    _, anomaly_map = saved_map(tmp_path)
    anomaly_map.source.dicom_files[2].unlink()
    with pytest.raises(ScanReadError, match="cannot be read again"):
        build_dicom_map(anomaly_map)


def test_it_is_known_again_as_no_scan(tmp_path):
    saved_map(tmp_path)
    with pytest.raises(ScanReadError, match="a parametric map, not a scan"):
        read_volume(tmp_path / "map.dcm")
