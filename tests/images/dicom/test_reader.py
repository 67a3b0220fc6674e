"""DICOM in: series that the tests write themselves, compared with the standard's formula and with SimpleITK."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    EnhancedMRImageStorage,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    RLELossless,
    UltrasoundImageStorage,
)

from dicom_files import (
    PATIENT_TAGS,
    as_one_series,
    compress,
    converted_by_dcm2niix,
    ct_values,
    enhanced_dataset,
    image_dataset,
    save_all,
    sequence_item,
    series_datasets,
    set_pixels,
)
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import read_volume


def rotated(*angles_deg):
    """Return ImageOrientationPatient of an axial series turned about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(angles_deg)):
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return tuple(matrix[:, :2].T.ravel())


CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
ORIENTATIONS = [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), CORONAL, SAGITTAL, rotated(12, -7, 20), rotated(50, 35, -60)]


def values_by_world_point(volume):
    """Return {RAS point, rounded to 0.01 mm: value} of every stored voxel."""
    stored = volume.geometry.to_stored(volume.values)
    index = np.indices(stored.shape).reshape(3, -1).T
    points = index @ volume.geometry.affine[:3, :3].T + volume.geometry.affine[:3, 3]
    return {tuple(p): v for p, v in zip(np.round(points, 2) + 0.0, stored.ravel(), strict=True)}


def standard_world_points(datasets, spacing):
    """Return {RAS point: stored value} by equation C.7.6.2.1-1 of the DICOM standard."""
    expected = {}
    for dataset in datasets:
        x, y = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        origin = np.array(dataset.ImagePositionPatient, float)
        for (row, column), value in np.ndenumerate(dataset.pixel_array):
            lps = origin + x * column * spacing[1] + y * row * spacing[0]
            expected[tuple(np.round(lps * (-1, -1, 1), 2) + 0.0)] = value
    return expected


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_voxel_lies_where_the_standard_says(tmp_path, orientation):
    spacing = (0.5, 0.8)
    datasets = series_datasets(ct_values(), spacing=spacing, gap=3.0, orientation=orientation)
    paths = save_all(datasets, tmp_path / "head")
    volume = read_volume(tmp_path / "head")
    assert values_by_world_point(volume) == standard_world_points(datasets, spacing)
    assert volume.geometry.shape == (12, 10, 6)
    assert volume.name == "head"
    assert volume.notes == ()
    for k, path in enumerate(volume.dicom_files):
        pixels = datasets[paths.index(path)].pixel_array
        np.testing.assert_array_equal(volume.geometry.to_stored(volume.values)[..., k].T, pixels)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_equal_to_dcm2niix(tmp_path, orientation):
    values = ct_values(rows=32, columns=40)
    datasets = series_datasets(
        values, spacing=(0.5, 0.8), gap=3.0, orientation=orientation, RescaleIntercept=-1024
    )
    save_all(datasets, tmp_path / "in")
    expected = converted_by_dcm2niix(tmp_path / "in", tmp_path / "out")
    volume = read_volume(tmp_path / "in")
    np.testing.assert_array_equal(volume.values.transpose(2, 1, 0), expected.get_fdata())
    np.testing.assert_allclose(volume.geometry.canonical_affine, expected.affine, atol=1e-4)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_independent_reader_agrees(tmp_path, orientation):
    sitk = pytest.importorskip("SimpleITK")
    save_all(
        series_datasets(ct_values(), orientation=orientation, RescaleSlope=2, RescaleIntercept=-1000),
        tmp_path,
    )
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    volume = read_volume(tmp_path)
    stored = volume.geometry.to_stored(volume.values)
    for index in np.random.default_rng(0).integers(0, stored.shape, (30, 3)):
        ras = volume.geometry.affine[:3, :3] @ index + volume.geometry.affine[:3, 3]
        there = image.TransformPhysicalPointToIndex((ras * (-1, -1, 1)).tolist())
        assert image.GetPixel(there) == stored[tuple(index)]


def test_one_file_stands_for_its_series(tmp_path):
    paths = save_all(series_datasets(ct_values()), tmp_path / "head")
    save_all(series_datasets(ct_values(seed=1), SeriesNumber=4), tmp_path / "head", np.random.default_rng(5))
    volume = read_volume(paths[3])
    assert set(volume.dicom_files) == set(paths)
    assert volume.name == "head"


def test_several_series_are_listed_and_one_is_chosen(tmp_path):
    first = series_datasets(ct_values(), SeriesNumber=3, SeriesDescription="T1 AX")
    second = series_datasets(ct_values(seed=1), SeriesNumber=4, SeriesDescription="T2 COR")
    save_all([*first, *second], tmp_path)
    with pytest.raises(ScanReadError, match=r"2 series.*--series.*series 3 'T1 AX'.*series 4 'T2 COR'"):
        read_volume(tmp_path)
    for wanted in ("4", "t2 cor", str(second[0].SeriesInstanceUID)[-8:]):
        chosen = read_volume(tmp_path, series=wanted)
        expected = np.sort(ct_values(seed=1).ravel())
        np.testing.assert_array_equal(np.sort(chosen.values.ravel()), expected)
    with pytest.raises(ScanReadError, match="series '5': expected to match one"):
        read_volume(tmp_path, series="5")


def test_enhanced_multi_frame_with_a_rescale_for_each_frame(tmp_path):
    values = ct_values()
    dataset = enhanced_dataset(values)
    [path] = save_all([dataset], tmp_path)
    volume = read_volume(path)
    assert volume.dicom_files == (path,)
    assert volume.geometry.shape == (12, 10, 6)
    by_point = values_by_world_point(volume)
    for number, pixels in enumerate(values):
        for (row, column), stored in np.ndenumerate(pixels):
            point = (3 - 0.5 * column, 4 - 0.5 * row, 5 + 2.0 * number)
            assert by_point[point] == stored * (1 + number) - 10 * number
    assert [(w.name, w.low, w.high) for w in volume.display_windows] == [
        ("Window 1", 0, 80),
        ("Window 2", -800, 2000),
    ]


def test_an_enhanced_file_of_several_time_points_needs_a_frame(tmp_path):
    values = ct_values(n=8)
    places = [(0, 0, z) for z in (0, 2, 4, 6)] * 2
    dataset = enhanced_dataset(values, places=places)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        content = pydicom.Dataset()
        content.TemporalPositionIndex = 1 + number // 4
        frame.FrameContentSequence = [content]
    [path] = save_all([dataset], tmp_path)
    with pytest.raises(ScanReadError, match=r"2 frames: 2 images at each of 4 positions.*--frame 0 to 1"):
        read_volume(path)
    volume = read_volume(path, frame=1)
    rescaled = [pixels * (1.0 + n) - 10 * n for n, pixels in enumerate(values)]
    np.testing.assert_array_equal(np.sort(volume.values.ravel()), np.sort(np.array(rescaled[4:]).ravel()))
    assert volume.notes == ("Frame 1 of 2, counted from 0.",)


def test_a_classic_time_series_needs_a_frame(tmp_path):
    datasets = []
    for time in (1, 2, 3):
        part = series_datasets(ct_values(seed=time), TemporalPositionIdentifier=time)
        datasets += part
    save_all(as_one_series(datasets), tmp_path)
    with pytest.raises(ScanReadError, match="3 frames"):
        read_volume(tmp_path)
    for frame in range(3):
        volume = read_volume(tmp_path, frame=frame)
        one = ct_values(seed=frame + 1)
        stored = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)
        assert any(np.array_equal(stored, order) for order in (one, one[::-1]))


def test_header_windows_are_told_once_each(tmp_path):
    windows = {
        "WindowCenter": [40, 600, 40],
        "WindowWidth": [80, 2800, 80],
        "WindowCenterWidthExplanation": ["BRAIN", "BONE", "AGAIN"],
    }
    save_all(series_datasets(ct_values(), **windows), tmp_path)
    assert [(w.name, w.low, w.high) for w in read_volume(tmp_path).display_windows] == [
        ("BRAIN", 0, 80),
        ("BONE", -800, 2000),
    ]


def test_times_of_a_dynamic_pet_are_frames_in_their_order(tmp_path):
    """They were ordered by the number of the image."""
    datasets = []
    for number, time in enumerate((30_000, 10_000, 20_000)):
        part = series_datasets(ct_values(seed=number), FrameReferenceTime=time, Modality="PT")
        for place, dataset in enumerate(part):
            dataset.InstanceNumber = 3 * place + number + 1
        datasets += part
    save_all(as_one_series(datasets), tmp_path)
    for frame, number in enumerate((1, 2, 0)):
        volume = read_volume(tmp_path, frame=frame)
        stored = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)
        one = ct_values(seed=number)
        assert any(np.array_equal(stored, order) for order in (one, one[::-1]))


@pytest.mark.parametrize("slope", [1, 2])
def test_windows_of_what_is_turned_are_turned_with_it(tmp_path, slope):
    """The header's window lies in values of which high ones are dark: it showed a mammogram black or white."""
    pixels = np.linspace(0, 4095, 120).reshape(10, 12).astype(np.uint16)
    one = image_dataset(
        pixels, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", BitsStored=12, HighBit=11,
        Modality="MG", SeriesInstanceUID="1.2.3", WindowCenter=[700, 500], WindowWidth=[1000, 400],
        RescaleSlope=slope, RescaleIntercept=0,
    )  # fmt: skip
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    white = 4095 * slope
    shown = [(w.name, w.low, w.high) for w in volume.display_windows]
    assert shown == [("Window 1", white - 1200, white - 200), ("Window 2", white - 700, white - 300)]
    dark = slope * pixels > 1200  # by the header: above the first window, in which high is dark
    np.testing.assert_array_equal(volume.values[0] < shown[0][1], dark)


def test_monochrome1_is_turned_so_that_high_is_bright(tmp_path):
    pixels = ct_values(n=1)[0].astype(np.uint16)
    one = image_dataset(
        pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11, Modality="DX",
        SeriesInstanceUID="1.2.3",
    )  # fmt: skip
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values[0], 4095.0 - pixels)
    assert volume.full_scale == 4095
    assert not volume.geometry.is_physical
    assert "sizes are in pixels" in volume.notes[0]


@pytest.mark.parametrize(
    ("tags", "aspect", "told"),
    [
        ({}, 1, ""),
        ({"PixelAspectRatio": ["3", "3"]}, 1, ""),
        ({"PixelAspectRatio": ["5", "2"]}, 2.5, " A pixel is 2:5, width to height, by PixelAspectRatio."),
        ({"PixelSpacing": [0.2, 0.1]}, 2, " A pixel is 0.1 × 0.2 mm by PixelSpacing."),
        (
            {"ImagerPixelSpacing": [0.07, 0.07], "PixelAspectRatio": ["5", "2"]},
            1,
            " A pixel is 0.07 × 0.07 mm at the detector by ImagerPixelSpacing.",
        ),
        (
            {"NominalScannedPixelSpacing": [0.1, 0.2]},
            0.5,
            " A pixel is 0.2 × 0.1 mm of what was scanned by NominalScannedPixelSpacing.",
        ),
        ({"PixelAspectRatio": ["0", "2"], "ImagerPixelSpacing": []}, 1, ""),
    ],
)
def test_pixels_without_a_place_have_the_shape_that_the_header_says(tmp_path, tags, aspect, told):
    """They were taken for squares; no millimetre is made of what is measured elsewhere than in the patient."""
    pixels = ct_values(n=1)[0].astype(np.uint16)
    one = image_dataset(pixels, Modality="DX", SeriesInstanceUID="1.2.3", **tags)
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    assert not volume.geometry.is_physical and volume.geometry.voxel_volume == 1
    assert volume.geometry.spacing == (1, pytest.approx(aspect), 1)
    assert volume.notes == (f"No place in the patient in the header: sizes are in pixels.{told}",)


def us_region(height, width, **tags):
    """Return a part of a picture of ultrasound in which pixels are so large, in centimetres."""
    usual = {"RegionSpatialFormat": 1, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    return sequence_item(**(usual | {"PhysicalDeltaX": width, "PhysicalDeltaY": height} | tags))


DOPPLER = us_region(1.5, 0.004, RegionSpatialFormat=3, PhysicalUnitsXDirection=4, PhysicalUnitsYDirection=7)


@pytest.mark.parametrize(
    ("regions", "size"),
    [
        ([us_region(0.03, 0.02)], (0.3, 0.2)),
        ([us_region(-0.03, 0.02), DOPPLER, us_region(0.03, 0.02)], (0.3, 0.2)),
        ([us_region(0.03, 0.02), us_region(0.04, 0.04)], None),
        ([DOPPLER], None),
        ([us_region(0, 0.02)], None),
        ([], None),
    ],
    ids=["one", "both sides and flow", "different ones", "flow", "no height", "none"],
)
@pytest.mark.parametrize("more", [{}, {"PixelAspectRatio": ["3", "2"]}, {"PixelSpacing": [0.1, 0.1]}])
def test_pixels_of_ultrasound_are_as_large_as_its_regions_say(tmp_path, regions, size, more):
    """They were taken for squares of no size."""
    one = image_dataset(
        ct_values(n=1)[0].astype(np.uint16), sop_class=UltrasoundImageStorage, Modality="US", SeriesInstanceUID="1.2",
        SequenceOfUltrasoundRegions=regions, **more,
    )  # fmt: skip
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    told = " A pixel is 0.2 × 0.3 mm in the ultrasound's image of tissue by SequenceOfUltrasoundRegions."
    is_told = size is not None and "PixelSpacing" not in more
    assert volume.notes[0].endswith(told) == is_told
    aspect = 1.5 if is_told or "PixelAspectRatio" in more else 1
    assert not volume.geometry.is_physical and volume.geometry.pixel_aspect == pytest.approx(aspect)


def test_a_pixel_shape_that_is_no_number_is_passed_over(tmp_path):
    one = image_dataset(ct_values(n=1)[0], SeriesInstanceUID="1.2.3", PixelAspectRatio=["7", "2"])
    [path] = save_all([one], tmp_path)
    path.write_bytes(path.read_bytes().replace(b"7\\2 ", b"x\\2 "))
    assert read_volume(path).geometry.pixel_aspect == 1


@pytest.mark.parametrize(("shape", "is_noted"), [("IDENTITY", True), ("INVERSE", False)])
def test_monochrome1_counts_where_the_presentation_says_otherwise(tmp_path, shape, is_noted):
    pixels = ct_values(n=1)[0].astype(np.uint16)
    one = image_dataset(
        pixels, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape, BitsStored=12, HighBit=11,
        Modality="DX", SeriesInstanceUID="1.2.3",
    )  # fmt: skip
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values[0], 4095.0 - pixels)
    assert any("MONOCHROME1" in note for note in volume.notes) == is_noted


def test_hounsfield_units_stay_however_they_are_shown(tmp_path):
    tags = {"PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": -1024}
    save_all(series_datasets(ct_values(), **tags), tmp_path)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(np.sort(volume.values.ravel()), np.arange(ct_values().size) - 1024)
    assert volume.full_scale is None


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_pixels(tmp_path, syntax):
    values = ct_values(n=2, rows=64, columns=64)
    datasets = series_datasets(values, RescaleIntercept=-1024)
    for dataset in datasets:
        compress(dataset, syntax)
    save_all(datasets, tmp_path)
    np.testing.assert_array_equal(
        np.sort(read_volume(tmp_path).values.ravel()), np.arange(values.size) - 1024
    )


def compress_as_most_archives_do(path):
    """Compress a file in place by lossless JPEG."""
    gdcm = pytest.importorskip("gdcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1


def test_jpeg_lossless_as_most_archives_store_it(tmp_path):
    values = ct_values(n=2, rows=64, columns=64)
    for path in save_all(series_datasets(values), tmp_path):
        compress_as_most_archives_do(path)
    np.testing.assert_array_equal(np.sort(read_volume(tmp_path).values.ravel()), np.arange(values.size))


def test_jpeg_lossless_over_whose_damage_a_decoder_would_end_the_process(tmp_path):
    (path,) = save_all(series_datasets(ct_values(n=1, rows=64, columns=64)), tmp_path)
    compress_as_most_archives_do(path)
    path.write_bytes(path.read_bytes().replace(b"\xff\xc4\x00", b"\x00\xc4\x00"))
    with pytest.raises(ScanReadError, match="damaged or cut short"):
        read_volume(tmp_path)


def test_pixels_that_cannot_be_decoded_name_the_extra(tmp_path, monkeypatch):
    values = ct_values(n=2, rows=64, columns=64)
    datasets = series_datasets(values)
    for dataset in datasets:
        compress(dataset, JPEG2000Lossless)
    save_all(datasets, tmp_path)
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    with pytest.raises(ScanReadError, match=r'JPEG 2000 .*pip install "napari-dinoad\[dicom-codecs\]"'):
        read_volume(tmp_path)


def test_colour_becomes_grey(tmp_path):
    pixels = np.zeros((8, 9, 3), np.uint8)
    pixels[2:5, :, 1] = 200
    one = image_dataset(pixels, Modality="US", SeriesInstanceUID="1.2.3")
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    assert volume.values[0, 3, 3] == pytest.approx(0.587 * 200)
    assert volume.full_scale == 255


def test_frames_without_a_place_are_a_stack_of_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 8, 9), dtype=np.uint8)
    one = image_dataset(
        pixels[0], sop_class=MultiFrameGrayscaleByteSecondaryCaptureImageStorage, Modality="OPT",
        SeriesInstanceUID="1.2.3",
    )  # fmt: skip
    set_pixels(one, pixels)
    one.NumberOfFrames = 5
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values, pixels)
    assert volume.geometry.shape == (5, 8, 9)
    assert not volume.geometry.is_physical
    np.testing.assert_array_equal(read_volume(path, frame=2).values[0], pixels[2])


@pytest.mark.parametrize("pointer", ["FrameTime", "FrameTimeVector", None])
def test_a_film_says_that_its_images_follow_in_time(tmp_path, pointer):
    """Angiographies and ultrasound were read as stacks without a word: their regions reach over time, not space."""
    pixels = np.random.default_rng(0).integers(0, 255, (5, 8, 9), dtype=np.uint8)
    one = image_dataset(pixels[0], Modality="XA", SeriesInstanceUID="1.2.3", NumberOfFrames=5)
    set_pixels(one, pixels)
    if pointer:
        one.FrameIncrementPointer = tag_for_keyword(pointer)
    [path] = save_all([one], tmp_path)
    told = "5 images that follow in time (a film), read as the slices of a stack."
    assert (told in read_volume(path).notes) == (pointer is not None)
    assert told not in read_volume(path, frame=2).notes


def test_a_single_slice_with_a_place_has_an_area(tmp_path):
    [path] = save_all(series_datasets(ct_values(n=1)), tmp_path)
    volume = read_volume(path)
    assert volume.is_2d
    assert volume.geometry.shape == (12, 10)
    assert volume.geometry.voxel_volume == pytest.approx(0.25)


def test_damaged_pixels_are_named(tmp_path):
    paths = save_all(series_datasets(ct_values()), tmp_path)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:-60])
    with pytest.raises(ScanReadError, match="damaged or cut short"):
        read_volume(tmp_path)


def test_no_patient_tag_is_parsed_or_told(tmp_path, caplog):
    """Whatever goes wrong or well, nothing that names a patient is in memory, a message, a note or a log."""
    caplog.set_level("DEBUG")
    told = []
    folders = {"good": ct_values(), "hole": np.delete(ct_values(), 2, axis=0)}
    for name, values in folders.items():
        places = None if name == "good" else [(0, 0, z) for z in (0, 2, 6, 8, 10)]
        save_all(series_datasets(values, places=places), tmp_path / name)
    volume = read_volume(tmp_path / "hole", resample=True)
    told += [*volume.notes, volume.name, repr(volume.display_windows), repr(volume.header)]
    for bad in (tmp_path, tmp_path / "hole"):
        with pytest.raises(ScanReadError) as refused:
            read_volume(bad)
        told.append(str(refused.value))
    from napari_dinoad.images.dicom.headers import read_header

    header, _ = read_header(next((tmp_path / "good").iterdir()))
    told += [str(header), caplog.text]
    for tag, value in PATIENT_TAGS.items():
        assert tag not in header
        if tag != "PatientSex":
            assert not [text for text in told if value in text]


def test_jpeg_baseline_colour(tmp_path):
    from io import BytesIO

    from PIL import Image
    from pydicom.encaps import encapsulate

    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[4:12, 4:12] = (200, 100, 50)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=100, subsampling=0)
    one = image_dataset(
        pixels, Modality="XC", SeriesInstanceUID="1.2.3", PhotometricInterpretation="YBR_FULL_422"
    )
    one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    one.PixelData = encapsulate([stream.getvalue()])
    one["PixelData"].VR = "OB"
    [path] = save_all([one], tmp_path)
    expected = pixels.astype(np.float32) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(read_volume(path).values[0], expected, atol=4)


@pytest.mark.parametrize("decimals", [3, 4])
def test_rounded_direction_cosines(tmp_path, decimals):
    """Their vectors are not quite of length 1, nor at right angles."""
    exact = rotated(31, 17, 45)
    datasets = series_datasets(ct_values(), orientation=exact)
    for dataset in datasets:
        dataset.ImageOrientationPatient = [f"{x:.{decimals}f}" for x in exact]
    save_all(datasets, tmp_path)
    volume = read_volume(tmp_path)
    for dataset in datasets:
        dataset.ImageOrientationPatient = [f"{x:.10g}" for x in exact]
    points = np.array(list(standard_world_points(datasets, (0.5, 0.5))))
    index = (points - volume.geometry.affine[:3, 3]) @ np.linalg.inv(volume.geometry.affine[:3, :3]).T
    assert np.abs(index - np.rint(index)).max() < 0.05


def test_a_file_that_cannot_be_decoded_is_named_once(tmp_path):
    """It was named by its path, and again as one of the series."""
    one = image_dataset(ct_values(n=1)[0], SeriesInstanceUID="1.2.3")
    del one.PixelData
    [path] = save_all([one], tmp_path)
    with pytest.raises(ScanReadError) as told:
        read_volume(path)
    assert str(told.value).startswith(f"{path}: no pixels")
    with pytest.raises(ScanReadError) as told:
        read_volume(tmp_path)
    assert str(told.value).startswith(f"{tmp_path}: {path.name}: no pixels")
