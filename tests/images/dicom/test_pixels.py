"""Values of pixels, however they lie in the file: each test knows what the standard says they are."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import convert_color_space
from pydicom.pixels.decoders import JPEGExtended12BitDecoder
from pydicom.uid import (
    MPEG4HP41,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from dicom_files import (
    compress,
    ct_values,
    enhanced_dataset,
    image_dataset,
    save_all,
    series_datasets,
    set_pixels,
)
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.values.grey import COLOUR_AS_GREY

VALUES = ct_values(n=4)
BITS_12 = {"BitsStored": 12, "HighBit": 11}


def read(datasets, folder, **how):
    """Return the slices (n, rows, columns) read of data sets in rising order of their place, and the volume."""
    save_all(datasets, folder)
    volume = read_volume(folder, **how)
    # The affine's third column runs as the stored slices do; ours rise.
    stored = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)
    return (stored if volume.geometry.affine[2, 2] > 0 else stored[::-1]), volume


def change_bits(datasets, change):
    for dataset in datasets:
        bits = np.frombuffer(dataset.PixelData, np.uint16)
        dataset.PixelData = change(bits).astype(np.uint16).tobytes()


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_overlays_in_unused_bits_are_left_out_and_told(tmp_path, syntax):
    datasets = series_datasets(VALUES.astype(np.uint16), **BITS_12)
    change_bits(datasets, lambda bits: bits | (np.arange(bits.size) % 3 == 0) << 14)
    for dataset in datasets:
        if syntax:
            compress(dataset, syntax)
    values, volume = read(datasets, tmp_path)
    np.testing.assert_array_equal(values, VALUES)
    assert any("Bits beyond" in note for note in volume.notes)


def test_signed_pixels_without_their_sign_in_unused_bits(tmp_path):
    signed = VALUES - 200
    datasets = series_datasets(signed, **BITS_12)
    change_bits(datasets, lambda bits: bits & 0x0FFF)
    values, volume = read(datasets, tmp_path)
    np.testing.assert_array_equal(values, signed)
    assert volume.notes == ()


def test_signed_pixels_with_their_sign_in_unused_bits(tmp_path):
    values, volume = read(series_datasets(VALUES - 200, **BITS_12), tmp_path)
    np.testing.assert_array_equal(values, VALUES - 200)
    assert volume.notes == ()


def test_pixels_in_the_highest_bits(tmp_path):
    datasets = series_datasets(VALUES.astype(np.uint16), BitsStored=12, HighBit=15)
    change_bits(datasets, lambda bits: bits << 4)
    values, volume = read(datasets, tmp_path)
    np.testing.assert_array_equal(values, VALUES)
    assert volume.notes == ()


def test_big_endian(tmp_path):
    datasets = series_datasets(VALUES, RescaleIntercept=-1024)
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset["PixelData"].VR = "OW"
    values, _ = read(datasets, tmp_path)
    np.testing.assert_array_equal(values, VALUES - 1024.0)


SIGNED = ct_values(n=3, rows=64, columns=80) % 4096 - 2048
"""12 bits with a sign; large enough for JPEG 2000."""


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_signed_pixels_of_codecs(tmp_path, syntax):
    """JPEG-LS knows no sign, and some encoders of JPEG 2000 write pixels that have one as if they had none."""
    datasets = series_datasets(SIGNED)
    for dataset in datasets:
        compress_unsigned(dataset, syntax)
    values, volume = read(datasets, tmp_path)
    np.testing.assert_array_equal(values, SIGNED)
    assert volume.notes == ()


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_signed_frames_of_codecs(tmp_path, syntax):
    dataset = enhanced_dataset(SIGNED)
    compress_unsigned(dataset, syntax)
    values, _ = read([dataset], tmp_path)
    number = np.arange(len(SIGNED))[:, np.newaxis, np.newaxis]
    np.testing.assert_array_equal(values, SIGNED * (1 + number) - 10 * number)


def compress_unsigned(dataset, syntax):
    """Compress pixels of 12 bits with a sign, in place, as if they had none."""
    dataset.PixelRepresentation = 0
    dataset.BitsStored, dataset.HighBit = 12, 11
    bits = np.frombuffer(dataset.PixelData, np.uint16) & 0x0FFF
    dataset.PixelData = bits.tobytes()
    compress(dataset, syntax)
    dataset.PixelRepresentation = 1


@pytest.mark.parametrize("empty", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_an_image_whose_place_is_named_without_a_value(tmp_path, empty):
    (dataset,) = series_datasets(VALUES[:1], **{empty: None})
    save_all([dataset], tmp_path)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.values, VALUES[:1])
    assert not volume.geometry.is_physical


def test_a_series_whose_distance_of_slices_is_named_without_a_value(tmp_path):
    values, volume = read(series_datasets(VALUES, SpacingBetweenSlices=None), tmp_path)
    np.testing.assert_array_equal(values, VALUES)
    assert volume.geometry.spacing[0] == 2


@pytest.mark.parametrize(
    ("tags", "white"),
    [
        ({}, 4095),
        ({"RescaleSlope": 1, "RescaleIntercept": 0}, 4095),
        ({"RescaleSlope": 1, "RescaleIntercept": -1024}, None),
        ({"RescaleSlope": 2, "RescaleIntercept": 0}, None),
        ({"PixelRepresentation": 1}, None),
    ],
)
def test_white_is_the_highest_value_that_unsigned_bits_hold_as_stored(tmp_path, tags, white):
    pixels = ct_values(1)[0].astype(np.uint16)
    one = image_dataset(pixels, Modality="DX", SeriesInstanceUID="1.2.3", BitsStored=12, HighBit=11, **tags)
    [path] = save_all([one], tmp_path)
    assert read_volume(path).full_scale == white


def test_a_palette_of_16_bits_says_what_is_white(tmp_path):
    """Entries reach 65535, whatever the bits of the indices."""
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    one = image_dataset(
        indices, sop_class=UltrasoundImageStorage, Modality="US", SeriesInstanceUID="1.2.3",
        PhotometricInterpretation="PALETTE COLOR",
    )  # fmt: skip
    entries = (np.arange(256) * 257).astype(np.uint16)
    for colour in ("Red", "Green", "Blue"):
        setattr(one, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(one, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.values[0], indices * 257.0, rtol=1e-6)
    assert volume.colours is None, "red, green and blue are alike"
    assert COLOUR_AS_GREY not in volume.notes
    assert volume.full_scale == 65535


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_in_big_endian(tmp_path, bits):
    """As DCMTK writes it; entries of 8 bits share a word of 16."""
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    one = image_dataset(
        indices, sop_class=UltrasoundImageStorage, Modality="US", SeriesInstanceUID="1.2.3",
        PhotometricInterpretation="PALETTE COLOR",
    )  # fmt: skip
    one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    entries = (np.arange(256) * (250 if bits == 16 else 1)).astype(f"<u{bits // 8}")
    for colour in ("Red", "Green", "Blue"):
        setattr(one, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        words = np.frombuffer(entries.tobytes(), "<u2").astype(">u2")
        setattr(one, f"{colour}PaletteColorLookupTableData", words.tobytes())
    [path] = save_all([one], tmp_path)
    np.testing.assert_allclose(read_volume(path).values[0].ravel(), entries, rtol=1e-6)


def test_a_palette_in_segments(tmp_path):
    one = image_dataset(
        np.arange(256, dtype=np.uint8).reshape(16, 16), sop_class=UltrasoundImageStorage, Modality="US",
        SeriesInstanceUID="1.2.3", PhotometricInterpretation="PALETTE COLOR",
    )  # fmt: skip
    segments = np.array([0, 1, 0, 1, 255, 65535], np.uint16)  # one entry of 0, then a line up to 65535
    for colour in ("Red", "Green", "Blue"):
        setattr(one, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(one, f"Segmented{colour}PaletteColorLookupTableData", segments.tobytes())
    [path] = save_all([one], tmp_path)
    np.testing.assert_allclose(read_volume(path).values[0].ravel(), np.arange(256) * 257.0, atol=1.5)


def test_frames_of_subsampled_colour(tmp_path):
    frames = np.zeros((3, 8, 10, 3), np.uint8)
    frames[1, 2:5, 4:8] = (200, 100, 50)
    frames[2, :, :2] = 255
    one = image_dataset(
        frames[0], sop_class=UltrasoundMultiFrameImageStorage, Modality="US", SeriesInstanceUID="1.2.3",
        PhotometricInterpretation="YBR_FULL_422", NumberOfFrames=3,
    )  # fmt: skip
    ybr = np.stack([convert_color_space(frame, "RGB", "YBR_FULL") for frame in frames])
    pairs = ybr.reshape(3, 8, 5, 2, 3)
    one.PixelData = np.stack(
        [pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 0, 1], pairs[..., 0, 2]], axis=-1
    ).tobytes()
    [path] = save_all([one], tmp_path)
    grey = frames.astype(float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(read_volume(path).values, grey, atol=1)
    np.testing.assert_allclose(read_volume(path).colours, frames, atol=2)
    np.testing.assert_array_equal(read_volume(path, frame=1).colours[0], read_volume(path).colours[1])
    np.testing.assert_allclose(read_volume(path, frame=2).values[0], grey[2], atol=1)


def test_a_rescale_beside_the_functional_groups_does_not_displace_that_of_the_frames(tmp_path):
    one = enhanced_dataset(VALUES)
    one.RescaleSlope, one.RescaleIntercept = 1, 0
    values, _ = read([one], tmp_path)
    slopes, intercepts = np.arange(4)[:, None, None] + 1, -10 * np.arange(4)[:, None, None]
    np.testing.assert_array_equal(values, VALUES * slopes + intercepts)


def test_bright_padding_takes_the_lowest_value_and_is_told(tmp_path):
    """As signed, it is −2000: the darkest. Written without a sign, it would be 62512 HU."""
    pixels = VALUES.astype(np.uint16)
    pixels[:, 0] = 63536
    values, volume = read(series_datasets(pixels, PixelPaddingValue=63536, RescaleIntercept=-1024), tmp_path)
    np.testing.assert_array_equal(values[:, 1:], VALUES[:, 1:] - 1024.0)
    assert (values[:, 0] == VALUES[:, 1:].min() - 1024.0).all()
    assert any("PixelPaddingValue" in note for note in volume.notes)


@pytest.mark.parametrize("ends", [(63000, 64000), (64000, 63000), (63536, 63536)])
def test_a_range_of_padding(tmp_path, ends):
    pixels = VALUES.astype(np.uint16)
    pixels[:, 0] = 63536
    padding = dict(zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=True))
    values, _ = read(series_datasets(pixels, **padding), tmp_path)
    assert (values[:, 0] == VALUES[:, 1:].min()).all()
    np.testing.assert_array_equal(values[:, 1:], VALUES[:, 1:])


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData", "PixelData"])
def test_an_image_of_floating_point_numbers_or_without_pixels_is_told(tmp_path, keyword):
    one = image_dataset(VALUES[0], SeriesInstanceUID="1.2.3")
    del one.PixelData
    if keyword != "PixelData":
        setattr(one, keyword, VALUES[0].astype(np.float64 if "Double" in keyword else np.float32).tobytes())
        one.BitsAllocated = 64 if "Double" in keyword else 32
    [path] = save_all([one], tmp_path)
    with pytest.raises(ScanReadError, match="no pixels, or pixels of floating-point numbers"):
        read_volume(path)


def test_dark_padding_and_padding_amid_the_values_stay(tmp_path):
    for value in (0, 50):
        pixels = VALUES.astype(np.uint16)
        pixels[:, 0] = value
        values, volume = read(series_datasets(pixels, PixelPaddingValue=value), tmp_path / str(value))
        np.testing.assert_array_equal(values, pixels)
        assert volume.notes == ()


def test_padding_that_inversion_would_make_white(tmp_path):
    pixels = VALUES[0].astype(np.uint16) + 1
    pixels[0] = 0
    one = image_dataset(
        pixels, sop_class=ComputedRadiographyImageStorage, Modality="CR", SeriesInstanceUID="1.2.3",
        PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0, **BITS_12,
    )  # fmt: skip
    [path] = save_all([one], tmp_path)
    values = read_volume(path).values[0]
    np.testing.assert_array_equal(values[1:], 4095.0 - pixels[1:])
    assert (values[0] == values[1:].min()).all()


@pytest.mark.parametrize("is_multi_frame", [False, True])
def test_slices_that_are_turned_keep_one_scale(tmp_path, is_multi_frame):
    """Each was turned about a value of its own where each has its own rescale, so that air was bright in some."""
    pixels = VALUES.astype(np.uint16)
    slopes, intercepts = 1 + np.arange(4), -10 * np.arange(4)
    if is_multi_frame:
        datasets = [enhanced_dataset(pixels)]
    else:
        datasets = series_datasets(pixels, WindowCenter=600, WindowWidth=400)
        for dataset, slope, intercept in zip(datasets, slopes, intercepts, strict=True):
            dataset.RescaleSlope, dataset.RescaleIntercept = int(slope), int(intercept)
    for dataset in datasets:
        dataset.Modality, dataset.PhotometricInterpretation = "MR", "MONOCHROME1"
    values, volume = read(datasets, tmp_path)
    rescaled = pixels * slopes[:, np.newaxis, np.newaxis] + intercepts[:, np.newaxis, np.newaxis]
    (mirror,) = np.unique(values + rescaled)
    window = volume.display_windows[-1]
    assert mirror - window.high == (-800 if is_multi_frame else 400)


@pytest.mark.parametrize(
    ("tags", "is_turned"),
    [
        ({}, False),
        ({"PresentationLUTShape": "IDENTITY"}, False),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "Modality": "CT"}, False),
    ],
)
def test_pixels_are_transformed_twice_only_where_they_may_be_turned(tmp_path, monkeypatch, tags, is_turned):
    """It takes highdicom longer than all else of a slice."""
    asked, get_frames = [], hd.Image.get_frames

    def asking(*args, **kwargs):
        asked.append(kwargs)
        return get_frames(*args, **kwargs)

    monkeypatch.setattr(hd.Image, "get_frames", asking)
    pixels = VALUES[0].astype(np.uint16)
    tags = {"Modality": "DX", "SeriesInstanceUID": "1.2.3"} | BITS_12 | tags
    [path] = save_all([image_dataset(pixels, **tags)], tmp_path)
    values = read_volume(path).values[0]
    np.testing.assert_array_equal(values, 4095.0 - pixels if is_turned else pixels)
    assert len(asked) == 1 + is_turned


def test_what_no_decoder_knows_does_not_name_the_extra(tmp_path):
    one = image_dataset(VALUES[0], SeriesInstanceUID="1.2.3")
    one.file_meta.TransferSyntaxUID = MPEG4HP41
    one.PixelData = encapsulate([b"\0" * 100])
    one["PixelData"].is_undefined_length = True
    [path] = save_all([one], tmp_path)
    with pytest.raises(
        ScanReadError, match=r"MPEG-4 .*cannot be decoded here\. Export .* without compression"
    ):
        read_volume(path)


def test_twelve_bit_jpeg_is_not_called_damaged(monkeypatch):
    """Neither GDCM nor Pillow decode it; pydicom gives both for the syntax, whose images of 8 bits they know."""
    path = Path(get_testdata_file("JPGExtended.dcm", download=False))
    monkeypatch.delitem(JPEGExtended12BitDecoder._available, "pylibjpeg", raising=False)
    with pytest.raises(
        ScanReadError, match=r"12-bit .*'JPEG Extended .* cannot be decoded here.*-libjpeg\.$"
    ):
        read_volume(path)


def test_damaged_eight_bit_jpeg_is(tmp_path):
    dataset = dcmread(get_testdata_file("JPGExtended.dcm", download=False))
    dataset.BitsStored, dataset.HighBit = 8, 7
    dataset.PixelData = dataset.PixelData[:200]
    dataset.save_as(tmp_path / "cut.dcm")
    with pytest.raises(ScanReadError, match="damaged or cut short"):
        read_volume(tmp_path / "cut.dcm")


@pytest.mark.parametrize("name", ["JPEG2000", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_compressed_pixels_that_are_cut_short_are_told(tmp_path, name, part):
    """GDCM 3.0.24 gave whatever lay in memory in place of those that were missing."""
    dataset = dcmread(get_testdata_file(f"{name}.dcm", download=False))
    dataset.PixelData = dataset.PixelData[: int(len(dataset.PixelData) * part) // 2 * 2]
    dataset.save_as(tmp_path / "cut.dcm")
    with pytest.raises(ScanReadError, match="damaged or cut short"):
        read_volume(tmp_path / "cut.dcm")


def test_some_frames_of_a_compressed_file(tmp_path):
    """Frames are told apart by their place in the file, also when not all are wanted."""
    pixels = np.random.default_rng(0).integers(0, 255, (5, 8, 9), dtype=np.uint8)
    one = image_dataset(
        pixels[0], sop_class=UltrasoundMultiFrameImageStorage, Modality="US", SeriesInstanceUID="1.2.3"
    )
    set_pixels(one, pixels)
    one.NumberOfFrames = 5
    compress(one, RLELossless)
    [path] = save_all([one], tmp_path)
    np.testing.assert_array_equal(read_volume(path, frame=3).values[0], pixels[3])
    np.testing.assert_array_equal(read_volume(path).values, pixels)


def test_damage_over_which_a_decoder_would_end_the_process(tmp_path):
    """A precision of 128 bits: GDCM throws what nobody catches."""
    (dataset,) = series_datasets(SIGNED[:1].astype(np.uint16))
    compress(dataset, JPEG2000Lossless)
    stream = bytearray(get_frame(dataset.PixelData, 0))
    stream[42] = 255
    dataset.PixelData = encapsulate([bytes(stream)])
    save_all([dataset], tmp_path)
    with pytest.raises(ScanReadError, match="damaged or cut short"):
        read_volume(tmp_path)


def test_damage_over_which_a_decoder_panics(tmp_path):
    """The RLE decoder in Rust then raises what is no `Exception`."""
    (dataset,) = series_datasets(VALUES[:1])
    compress(dataset, RLELossless)
    too_long = bytes([0x81, 5])
    offsets = np.array([2, 64, 66] + [0] * 13, "<u4").tobytes()
    dataset.PixelData = encapsulate([offsets + too_long + too_long])
    save_all([dataset], tmp_path)
    with pytest.raises(ScanReadError, match="damaged or cut short"):
        read_volume(tmp_path)
