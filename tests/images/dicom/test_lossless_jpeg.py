"""Lossless JPEG whose pixels are not all there: told by the bits that they take."""

import struct

import numpy as np
import pytest

from dicom_files import ct_values, save_all, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.lossless_jpeg import require_all_pixels
from napari_dinoad.images.readers import read_volume

N_CATEGORIES = 17
CODE_BITS = 5


def segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


def coded_texts(pixels, predictor, bits):
    """Return the zeros and ones of each pixel (rows, columns); the code of each category has five bits."""
    rows, columns = pixels.shape
    texts = []
    x = pixels.astype(int)
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
            texts.append(f"{category:0{CODE_BITS}b}")
            if 0 < category < N_CATEGORIES - 1:
                own = difference if difference > 0 else difference + (1 << category) - 1
                texts[-1] += f"{own:0{category}b}"
    return texts


def packed(text):
    """Return zeros and ones as bytes of a stream."""
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")


def encoded(pixels, predictor, bits, *, restarts=0, shift=0):
    """Return a stream of pixels (rows, columns); the code of each category of differences has five bits."""
    rows, columns = pixels.shape
    coded = packed("".join(coded_texts(pixels, predictor, bits)))
    table = bytes([0, *[0] * (CODE_BITS - 1), N_CATEGORIES, *[0] * (16 - CODE_BITS), *range(N_CATEGORIES)])
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


def test_what_is_coded_in_another_way_is_taken_as_it_is(pixels):
    start, coded, end = encoded(pixels, 1, 12, shift=1)
    require_all_pixels(start + coded[:-9] + end, pixels)


@pytest.mark.parametrize("predictor", [1, 4, 7])
@pytest.mark.parametrize("n_rows", [1, 3, 16, 40])
def test_parts_between_restarts_are_whole_each(pixels, predictor, n_rows):
    parts = [encoded(part, predictor, 12)[1] for part in np.split(pixels, range(n_rows, 16, n_rows))]
    start, _, end = encoded(pixels, predictor, 12, restarts=20 * n_rows)

    def stream(parts):
        marked = [part + bytes([0xFF, 0xD0 + number % 8]) for number, part in enumerate(parts[:-1])]
        return start + b"".join(marked) + parts[-1] + end

    require_all_pixels(stream(parts), pixels)
    if len(parts) > 1:
        with pytest.raises(ValueError, match="parts, of which"):
            require_all_pixels(stream(parts[:-1]), pixels)
        with pytest.raises(ValueError, match="bytes of pixels"):
            require_all_pixels(stream([parts[0][:-1], *parts[1:]]), pixels)
        # As much is missing in one as there is too much in another.
        with pytest.raises(ValueError, match="bytes of pixels"):
            require_all_pixels(stream([parts[0][:-4], parts[1] + bytes(4), *parts[2:]]), pixels)


@pytest.fixture
def colours(pixels):
    return np.stack([pixels >> 4, pixels[::-1] >> 5, pixels[:, ::-1] >> 6], axis=-1).astype(np.uint8)


def encoded_colours(colours, predictor, *, together, sampling=0x11):
    """Return a stream of colours (rows, columns, 3) of 8 bits: pixel by pixel, or one colour after the other."""
    rows, columns, n = colours.shape
    alone = [encoded(colours[..., number], predictor, 8) for number in range(n)]
    table = alone[0][0][: alone[0][0].index(b"\xff\xdd")]
    frame = struct.pack(">BHHB", 8, rows, columns, n) + b"".join(
        bytes([c + 1, sampling, 0]) for c in range(n)
    )
    start = table + segment(0xFFC3, frame)
    if together:
        texts = [coded_texts(colours[..., number], predictor, 8) for number in range(n)]
        coded = packed("".join(text for pixel in zip(*texts, strict=True) for text in pixel))
        scan = bytes([n, *(byte for c in range(n) for byte in (c + 1, 0)), predictor, 0, 0])
        return start + segment(0xFFDA, scan), coded, b"\xff\xd9"
    scans = [segment(0xFFDA, bytes([1, c + 1, 0, predictor, 0, 0])) + alone[c][1] for c in range(n)]
    return start, b"".join(scans), b"\xff\xd9"


@pytest.mark.parametrize("predictor", [1, 4, 7])
@pytest.mark.parametrize("together", [True, False])
def test_colours_are_looked_at_too(colours, predictor, together):
    start, coded, end = encoded_colours(colours, predictor, together=together)
    require_all_pixels(start + coded + end, colours)
    for damaged in (coded[:-3], coded[: len(coded) // 2], coded + bytes(3)):
        with pytest.raises(ValueError, match=r"bytes of pixels|a colour is missing|damaged behind"):
            require_all_pixels(start + damaged + end, colours)


def test_colours_of_several_sizes_are_taken_as_they_are(colours):
    start, coded, end = encoded_colours(colours, 1, together=True, sampling=0x21)
    require_all_pixels(start + coded[:-9] + end, colours)


def read_after_refusals(folder, dataset, streams):
    """Return what is read of the last stream; the ones before must be refused."""
    from pydicom.encaps import encapsulate

    for number, stream in enumerate(streams, start=1):
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        (path,) = save_all([dataset], folder)
        if number < len(streams):
            with pytest.raises(ScanReadError, match="damaged or cut short"):
                read_volume(path)
    return read_volume(path)


@pytest.mark.parametrize("together", [True, False])
def test_files_in_colour_are_read_or_refused(tmp_path, colours, together):
    pytest.importorskip("gdcm")
    from pydicom.uid import JPEGLossless

    (dataset,) = series_datasets(ct_values(n=1, rows=16, columns=20))
    start, coded, end = encoded_colours(colours, 1, together=together)
    dataset.file_meta.TransferSyntaxUID = JPEGLossless
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    streams = [start + kept + end for kept in (coded[: len(coded) // 2], coded)]
    volume = read_after_refusals(tmp_path, dataset, streams)
    np.testing.assert_array_equal(np.sort(volume.colours.ravel()), np.sort(colours.ravel()))


@pytest.mark.parametrize("predictor", range(1, 8))
def test_files_are_read_or_refused(tmp_path, predictor):
    pytest.importorskip("gdcm")
    from pydicom.uid import JPEGLossless

    (dataset,) = series_datasets(ct_values(n=1, rows=32, columns=24))
    pixels = dataset.pixel_array
    start, coded, end = encoded(pixels.view(np.uint16), predictor, 16)
    middle = len(coded) // 2
    dataset.file_meta.TransferSyntaxUID = JPEGLossless
    damaged = (
        coded[:middle],
        coded[: middle - 20] + coded[middle:],
        coded[: middle - 20] + bytes(20) + coded[middle:],
        coded[:middle] + coded[middle - 20 :],
    )
    volume = read_after_refusals(tmp_path, dataset, [start + kept + end for kept in (*damaged, coded)])
    np.testing.assert_array_equal(np.sort(volume.values.ravel()), np.sort(pixels.ravel()))
