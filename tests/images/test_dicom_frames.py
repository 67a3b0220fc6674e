"""Several images at each position: which of them make up one frame."""

import numpy as np
import pytest
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from dicom_files import ct_values, enhanced_dataset, save_all, sequence_item, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import read_volume

N_SLICES, N_FRAMES = 4, 3
GAP = 2.0


def stored_slices(volume):
    """Return (slices, rows, columns), rising."""
    stored = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)
    return stored if volume.geometry.affine[2, 2] > 0 else stored[::-1]


def b_value(frame, number):
    frame.MRDiffusionSequence = [sequence_item(DiffusionBValue=500.0 * number)]


def trigger_delay(frame, number):
    frame.CardiacSynchronizationSequence = [sequence_item(NominalCardiacTriggerDelayTime=40.0 * number)]


def complex_component(frame, number):
    kind = ("MAGNITUDE", "PHASE", "REAL")[number]
    frame.MRImageFrameTypeSequence = [sequence_item(ComplexImageComponent=kind)]


def dimension(frame, number):
    frame.FrameContentSequence[0].DimensionIndexValues = [1, 1, number + 1]


@pytest.mark.parametrize("mark", [b_value, trigger_delay, complex_component, dimension])
def test_frames_in_any_order_within_a_file_are_told_by_what_they_differ_in(tmp_path, mark):
    """In the order of the file, a volume would be mixed of several b-values, phases or kinds."""
    order = np.random.default_rng(0).permutation(N_SLICES * N_FRAMES)
    slices, numbers = order % N_SLICES, order // N_SLICES
    values = ct_values(n=len(order))
    one = enhanced_dataset(values, places=[(0, 0, GAP * place) for place in slices])
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    for item, number in zip(one.PerFrameFunctionalGroupsSequence, numbers, strict=True):
        item.PixelValueTransformationSequence = [sequence_item(RescaleSlope=1, RescaleIntercept=0)]
        item.FrameContentSequence = [sequence_item()]
        mark(item, int(number))
    [path] = save_all([one], tmp_path)
    for number in range(N_FRAMES):
        expected = [values[(slices == place) & (numbers == number)][0] for place in range(N_SLICES)]
        np.testing.assert_array_equal(stored_slices(read_volume(path, frame=number)), expected)


def repeated(n_frames=N_FRAMES, **tags):
    """Return data sets of one series with several images at each position, frame by frame, and their values."""
    values = ct_values(n=N_SLICES * n_frames)
    places = [(0, 0, GAP * (i % N_SLICES)) for i in range(len(values))]
    return series_datasets(values, places=places, SOPClassUID=MRImageStorage, Modality="MR", **tags), values


def test_kinds_of_classic_images_are_told_before_their_numbers(tmp_path):
    datasets, values = repeated(n_frames=2)
    for i, dataset in enumerate(datasets):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "MP"[i // N_SLICES]]
        dataset.InstanceNumber = len(datasets) - i if i % 2 else i
    save_all(datasets, tmp_path)
    np.testing.assert_array_equal(stored_slices(read_volume(tmp_path, frame=0)), values[:N_SLICES])
    np.testing.assert_array_equal(stored_slices(read_volume(tmp_path, frame=1)), values[N_SLICES:])


def test_positions_that_differ_by_rounding_are_the_same(tmp_path):
    """0.125 and 0.125001 round to different hundredths."""
    datasets, values = repeated(n_frames=2)
    for dataset in datasets[:N_SLICES]:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 0.125, y, z]
    for dataset in datasets[N_SLICES:]:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 0.125001, y, z]
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match="2 frames: 2 images at each of 4 positions"):
        read_volume(tmp_path)
    np.testing.assert_array_equal(stored_slices(read_volume(tmp_path, frame=1)), values[N_SLICES:])


@pytest.mark.parametrize("frame", [2, -1])
def test_a_frame_that_is_not_there_is_told(tmp_path, frame):
    datasets, _ = repeated(n_frames=2)
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match=f"frame: expected 0 to 1, got {frame}"):
        read_volume(tmp_path, frame=frame)


def test_an_incomplete_last_frame_is_told_as_that(tmp_path):
    datasets, _ = repeated()
    save_all(datasets[:-1], tmp_path)
    with pytest.raises(ScanReadError, match="incomplete: 2 images at 1 positions, 3 images at 3 positions"):
        read_volume(tmp_path, frame=0)


@pytest.mark.parametrize("number", [None, "same"])
def test_images_that_nothing_tells_apart_are_not_mixed(tmp_path, number):
    datasets, _ = repeated(n_frames=2)
    for dataset in datasets:
        del dataset.InstanceNumber
        if number:
            dataset.InstanceNumber = 1
    save_all(datasets, tmp_path)
    for frame in (None, 0):
        with pytest.raises(ScanReadError, match=r"nothing in the headers .* folder of its own"):
            read_volume(tmp_path, frame=frame)
