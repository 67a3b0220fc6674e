"""Lossless JPEG whose pixels are not all there: told by the bits that they take."""

import struct

import numpy as np
import pytest

from dicom_files import ct_values, save_all, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.lossless_jpeg import require_all_pixels
from napari_dinoad.images.readers import read_volume

N_CATEGORIES = 17
CODE_BITS = 5


def segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


def encoded(pixels, predictor, bits, *, restarts=0, shift=0):
    """Return a stream of pixels (rows, columns); the code of each category of differences has five bits."""
    rows, columns = pixels.shape
    table = bytes([0, *[0] * (CODE_BITS - 1), N_CATEGORIES, *[0] * (16 - CODE_BITS), *range(N_CATEGORIES)])
    x, text = pixels.astype(int), ""
    for row in range(rows):
        for column in range(columns):
            left, above = x[row, column - 1], x[row - 1, column]
            corner = x[row - 1, column - 1]
            if row == 0:
                predicted = left if column else 1 << (bits - 1)
            elif column == 0:
                predicted = above
            else:
                predicted = [
                    left,
                    above,
                    corner,
                    left + above - corner,
                    left + ((above - corner) >> 1),
                    above + ((left - corner) >> 1),
                    (left + above) >> 1,
                ][predictor - 1]
            difference = (int(x[row, column]) - int(predicted) + 32767) % 65536 - 32767
            category = abs(difference).bit_length()
            text += f"{category:0{CODE_BITS}b}"
            if 0 < category < N_CATEGORIES - 1:
                own = difference if difference > 0 else difference + (1 << category) - 1
                text += f"{own:0{category}b}"
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = segment(0xFFC3, struct.pack(">BHHB", bits, rows, columns, 1) + b"\x01\x11\x00")
    scan = segment(0xFFDA, bytes([1, 1, 0, predictor, 0, shift]))
    start = b"\xff\xd8" + segment(0xFFC4, table) + segment(0xFFDD, struct.pack(">H", restarts)) + frame + scan
    return start, coded, b"\xff\xd9"


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    return (rng.integers(0, 4096, (16, 20)) // rng.choice([1, 500], (16, 20))).astype(np.uint16)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [12, 16])
def test_whole_pixels_take_as_many_bits_as_there_are(pixels, predictor, bits):
    start, coded, end = encoded(pixels, predictor, bits)
    require_all_pixels(start + coded + end, pixels)
    require_all_pixels(start + coded + b"\xff" + end, pixels.astype(np.int32))
    with pytest.raises(ValueError, match="bytes of pixels"):
        require_all_pixels(start + coded[:-2] + end, pixels)
    with pytest.raises(ValueError, match="bytes of pixels"):
        require_all_pixels(start + coded + bytes(3) + end, pixels)


def test_pixels_with_a_sign(pixels):
    pixels[3, 4] = 0x8000
    require_all_pixels(b"".join(encoded(pixels, 1, 16)), pixels.view(np.int16))


def test_differences_that_no_code_stands_for(pixels):
    start, coded, end = encoded(pixels, 1, 12)
    table = start.index(bytes(range(N_CATEGORIES)))
    start = start[: table + 2] + bytes([15] * (N_CATEGORIES - 2)) + start[table + N_CATEGORIES :]
    with pytest.raises(ValueError, match="bytes of pixels"):
        require_all_pixels(start + coded + end, pixels)


@pytest.mark.parametrize("more", [{"restarts": 20}, {"shift": 1}])
def test_what_is_coded_in_another_way_is_taken_as_it_is(pixels, more):
    start, coded, end = encoded(pixels, 1, 12, **more)
    require_all_pixels(start + coded[:-9] + end, pixels)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_files_are_read_or_refused(tmp_path, predictor):
    pytest.importorskip("gdcm")
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGLossless

    (dataset,) = series_datasets(ct_values(n=1, rows=32, columns=24))
    pixels = dataset.pixel_array
    start, coded, end = encoded(pixels.view(np.uint16), predictor, 16)
    middle = len(coded) // 2
    dataset.file_meta.TransferSyntaxUID = JPEGLossless
    for damaged in (
        coded[:middle],
        coded[: middle - 20] + coded[middle:],
        coded[: middle - 20] + bytes(20) + coded[middle:],
        coded[:middle] + coded[middle - 20 :],
        coded,
    ):
        dataset.PixelData = encapsulate([start + damaged + end])
        dataset["PixelData"].is_undefined_length = True
        (path,) = save_all([dataset], tmp_path)
        if damaged is coded:
            break
        with pytest.raises(ScanReadError, match="damaged or cut short"):
            read_volume(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(np.sort(volume.values.ravel()), np.sort(pixels.ravel()))
