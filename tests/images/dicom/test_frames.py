"""Several images at each position: which of them make up one frame."""

import numpy as np
import pytest
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from dicom_files import ct_values, enhanced_dataset, save_all, sequence_item, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.found_series import find_series
from napari_dinoad.images.frame_counts import frames_in
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


CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def in_stacks(stacks):
    """Return an enhanced image whose frames have the StackIDs ``stacks``, at places and orientations still to set."""
    one = enhanced_dataset(ct_values(n=len(stacks)))
    for item, stack in zip(one.PerFrameFunctionalGroupsSequence, stacks, strict=True):
        item.PixelValueTransformationSequence = [sequence_item(RescaleSlope=1, RescaleIntercept=0)]
        item.FrameContentSequence = [sequence_item(StackID=stack)]
    return one


def place_frame(one, index, position, orientation=None):
    item = one.PerFrameFunctionalGroupsSequence[index]
    item.PlanePositionSequence = [sequence_item(ImagePositionPatient=list(position))]
    if orientation is not None:
        item.PlaneOrientationSequence = [sequence_item(ImageOrientationPatient=list(orientation))]


def stacks_of_two_planes():
    """Return an enhanced image of a coronal stack of 3 slices at 2 time points, and an axial one of 4 slices."""
    one = in_stacks([*"222222", *"1111"])
    del one.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for i in range(6):
        place_frame(one, i, (0, 3 * (i % 3), 0), CORONAL)
        one.PerFrameFunctionalGroupsSequence[i].FrameContentSequence[0].TemporalPositionIndex = 1 + i // 3
    for i in range(4):
        place_frame(one, 6 + i, (0, 0, GAP * i), (1, 0, 0, 0, 1, 0))
    return one


def test_stacks_of_one_image_are_frames(tmp_path):
    """The axial stack has no time points: its frames come first by their rank."""
    [path] = save_all([stacks_of_two_planes()], tmp_path)
    told = r"2 stacks .*StackID\): 4 axial slices \(frame 0\), 3 coronal slices \(frames 1 to 2\).* --frame 0 to 2"
    with pytest.raises(ScanReadError, match=told):
        read_volume(path)
    with pytest.raises(ScanReadError, match="frame: expected 0 to 2, got 3"):
        read_volume(path, frame=3)
    values = ct_values(n=10)
    axial = read_volume(path, frame=0)
    np.testing.assert_array_equal(stored_slices(axial), values[6:])
    assert axial.notes == ("Stack 1 of 2 (StackID), frame 0 of the image's 3 from 0.",)
    for frame in (1, 2):
        coronal = read_volume(path, frame=frame)
        expected = values[3 * frame - 3 : 3 * frame]
        np.testing.assert_array_equal(np.sort(coronal.values, axis=None), np.sort(expected, axis=None))
        assert np.linalg.norm(coronal.geometry.affine[:3, 2]) == pytest.approx(3)
        assert sorted(coronal.dicom_frames) == list(range(3 * frame - 2, 3 * frame + 1))
    assert frames_in(path) == 3
    [scan] = find_series([path]).scans
    assert scan.n_frames == 3


@pytest.mark.parametrize("hole", [0.0, 30.0])
def test_parallel_stacks_are_one_scan_where_they_are_even_together(tmp_path, hole):
    one = in_stacks("111222")
    for i in range(6):
        place_frame(one, i, (0, 0, GAP * i + hole * (i // 3)))
    [path] = save_all([one], tmp_path)
    if not hole:
        np.testing.assert_array_equal(stored_slices(read_volume(path)), ct_values(n=6))
        return
    with pytest.raises(ScanReadError, match=r"2 stacks .* --frame 0 to 1"):
        read_volume(path)
    np.testing.assert_array_equal(stored_slices(read_volume(path, frame=1)), ct_values(n=6)[3:])


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("is_multi_frame", [False, True])
def test_directions_of_diffusion_that_are_numbered_at_random_are_not_mixed(tmp_path, is_multi_frame, is_told):
    """A frame held one direction in some slices, another one in others."""
    directions = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    values = ct_values(n=N_SLICES * 3)
    places = [(0, 0, GAP * (i // 3)) for i in range(len(values))]
    numbers = [0, 1, 2, 2, 0, 1, *range(6)] if is_told else range(len(values))
    marked = [directions[number % 3] for number in numbers]
    if is_multi_frame:
        datasets = [enhanced_dataset(values, places=places)]
        for frame, direction in zip(datasets[0].PerFrameFunctionalGroupsSequence, marked, strict=True):
            gradient = sequence_item(DiffusionGradientOrientation=list(direction))
            frame.MRDiffusionSequence = [
                sequence_item(DiffusionBValue=1000.0, DiffusionGradientDirectionSequence=[gradient])
            ]
    else:
        datasets = series_datasets(values, places=places, DiffusionBValue=1000.0)
        for dataset, direction in zip(datasets, marked, strict=True):
            dataset.DiffusionGradientOrientation = list(direction)
    save_all(datasets, tmp_path)
    if is_told:
        with pytest.raises(ScanReadError, match="several directions of diffusion"):
            read_volume(tmp_path, frame=1)
    else:
        assert stored_slices(read_volume(tmp_path, frame=1)).shape[0] == N_SLICES
