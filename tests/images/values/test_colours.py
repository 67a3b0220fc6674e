"""Colours of pictures: read beside their grey, on its grid and in its orientation, by each reader that keeps them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.pixels import convert_color_space

from dicom_files import image_dataset, save_all
from napari_dinoad.errors import GeometryError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.values.colours import are_coloured, colour_type, colourfulness
from napari_dinoad.images.values.grey import COLOUR_AS_GREY, to_grey
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap


@pytest.fixture
def pixels():
    """A picture whose corners differ, so that turned or mirrored ones do."""
    rows, columns = np.mgrid[:24, :40]
    rng = np.random.default_rng(0)
    ramp = np.stack([rows * 9, columns * 6, 240 - rows * 4 - columns * 3], axis=-1)
    return np.clip(ramp + rng.integers(0, 9, ramp.shape), 0, 255).astype(np.uint8)


def require_beside(volume, expected):
    """Require these colours (z, y, x, 3), with values that are exactly their grey, and nothing said of it."""
    assert volume.colours is not None
    assert volume.colours.dtype == expected.dtype
    np.testing.assert_array_equal(volume.colours, expected)
    np.testing.assert_array_equal(volume.values, to_grey(volume.colours))
    assert COLOUR_AS_GREY not in volume.notes


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_pictures_keep_their_colours(tmp_path, pixels, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path)
    require_beside(read_volume(path), pixels[None])


def test_alpha_is_left_out(tmp_path, pixels):
    alpha = np.full((*pixels.shape[:2], 1), 90, np.uint8)
    Image.fromarray(np.concatenate([pixels, alpha], axis=-1)).save(tmp_path / "a.png")
    require_beside(read_volume(tmp_path / "a.png"), pixels[None])


def test_palettes_are_looked_up(tmp_path, pixels):
    image = Image.fromarray(pixels).quantize(20)
    image.save(tmp_path / "a.png")
    require_beside(read_volume(tmp_path / "a.png"), np.asarray(image.convert("RGB"))[None])


def test_transparent_colours_of_a_palette_are_read_without_a_warning(tmp_path, pixels):
    """Pillow's own warning came on stderr, of each file."""
    image = Image.fromarray(pixels).quantize(20)
    image.save(tmp_path / "a.png", transparency=bytes(range(0, 200, 10)))
    require_beside(read_volume(tmp_path / "a.png"), np.asarray(image.convert("RGB"))[None])


def test_cmyk_jpeg(tmp_path, pixels):
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == "CMYK"
        expected = np.asarray(image.convert("RGB"))
    volume = read_volume(tmp_path / "a.jpg")
    require_beside(volume, expected[None])
    assert np.abs(volume.colours[0].astype(int) - pixels).mean() < 6, "as it was before it became CMYK"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_pictures_that_ask_to_be_turned_lie_as_their_grey_does(tmp_path, pixels, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / f"turned.{ending}", exif=exif, quality=95)
    Image.fromarray(pixels).save(tmp_path / f"plain.{ending}", quality=95)
    plain, turned = (read_volume(tmp_path / f"{name}.{ending}") for name in ("plain", "turned"))
    require_beside(turned, plain.colours)
    assert np.abs(turned.colours[0].astype(int) - pixels).mean() < 4


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64"])
def test_tiff_of_any_bits_and_layout(tmp_path, pixels, planar, kind):
    stored = pixels.astype(kind) * (257 if kind == "uint16" else 1)
    if kind.startswith("float"):
        stored = stored / 255
    layout = stored if planar == "contig" else np.moveaxis(stored, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", layout, photometric="rgb", planarconfig=planar)
    volume = read_volume(tmp_path / "a.tif")
    expected = stored if kind.startswith("uint") else stored.astype(np.float32)
    assert volume.colours.dtype == expected.dtype
    np.testing.assert_array_equal(volume.colours, expected[None])
    np.testing.assert_allclose(volume.values, to_grey(volume.colours), rtol=1e-6)
    assert volume.full_scale == {"uint8": 255, "uint16": 65535}.get(kind)


def test_pages_of_which_some_are_grey(tmp_path, pixels):
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    first, second = Image.fromarray(pixels), Image.fromarray(grey)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.colours[0], pixels)
    np.testing.assert_array_equal(volume.colours[1], np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_array_equal(volume.values[1], grey)


def test_grey_that_is_stored_as_colour_has_none(tmp_path, pixels):
    grey = np.repeat(pixels[..., :1], 3, axis=-1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    volume = read_volume(tmp_path / "grey.png")
    assert volume.colours is None
    assert not volume.notes
    np.testing.assert_allclose(volume.values[0], pixels[..., 0], atol=1e-3)


def test_pixels_without_a_value_are_grey(tmp_path):
    stored = np.random.default_rng(0).random((8, 9, 3)).astype(np.float32)
    stored[2, 3, 1], stored[4, 5] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb")
    volume = read_volume(tmp_path / "a.tif")
    lowest = volume.values.min()
    assert (volume.colours[0, [2, 4], [3, 5]] == lowest).all()
    assert np.isfinite(volume.colours).all()


def test_dicom_photographs(tmp_path, pixels):
    one = image_dataset(pixels, Modality="XC", SeriesInstanceUID="1.2.3")
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    require_beside(volume, pixels[None])
    assert volume.full_scale == 255


def test_dicom_frames_stored_as_luminance(tmp_path, pixels):
    frames = np.stack([pixels, pixels[::-1], pixels[:, ::-1]])
    one = image_dataset(
        frames[0], Modality="US", SeriesInstanceUID="1.2.3", PhotometricInterpretation="YBR_FULL",
        NumberOfFrames=3,
    )  # fmt: skip
    ybr = np.stack([convert_color_space(frame, "RGB", "YBR_FULL") for frame in frames])
    one.PixelData = ybr.tobytes()
    [path] = save_all([one], tmp_path)
    volume = read_volume(path)
    assert volume.colours.shape == (3, *pixels.shape)
    assert np.abs(volume.colours.astype(int) - frames).max() <= 2, "to rounding, there and back"
    np.testing.assert_array_equal(volume.values, to_grey(volume.colours))


def test_dicom_slices_in_the_patient(tmp_path, pixels):
    """The stored array is turned into the canonical one; colours must go along."""
    datasets = []
    for number in range(3):
        one = image_dataset(np.roll(pixels, number, axis=0), Modality="US", SeriesInstanceUID="1.2.3")
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.InstanceNumber = [0.5, 0.5], number + 1
        datasets.append(one)
    save_all(datasets, tmp_path)
    volume = read_volume(tmp_path)
    assert volume.geometry.is_physical
    assert volume.colours.shape == (*volume.values.shape, 3)
    np.testing.assert_array_equal(volume.values, to_grey(volume.colours))
    assert not np.array_equal(volume.colours[0], pixels), "it was turned"


OBLIQUE = np.array([[0.0, -0.9, 1.6, 11], [-0.8, 0, 0, -5], [0, 1.2, 1.2, 3], [0, 0, 0, 1]])
"""Of axes that are turned and mirrored against the patient's, and oblique."""


@pytest.fixture
def volume_colours():
    """Colours (i, j, k, 3) of which no two voxels are alike along an axis."""
    i, j, k = np.mgrid[:5, :6, :7]
    return np.stack([i * 50, j * 40, 30 + k * 25], axis=-1).astype(np.uint8)


def structured(colours, channels):
    """Return colours with a type of their own, as NIfTI holds them; alpha is full."""
    stored = np.full(colours.shape[:3], 255, dtype=[(channel, "u1") for channel in channels])
    for number, channel in enumerate("RGB"):
        stored[channel] = colours[..., number]
    return stored


def require_placed(volume, colours, affine):
    """Require each stored voxel's colour where a viewer would look for it, by its place in the patient."""
    assert volume.geometry.shape == colours.shape[:3]
    np.testing.assert_allclose(volume.geometry.affine, affine, atol=1e-5)
    ijk = np.argwhere(np.ones(colours.shape[:3], bool))
    to_canonical = np.linalg.inv(volume.geometry.canonical_affine) @ affine
    xyz = np.rint(ijk @ to_canonical[:3, :3].T + to_canonical[:3, 3]).astype(int)
    np.testing.assert_array_equal(volume.colours[*xyz.T[::-1]], colours[*ijk.T])
    np.testing.assert_array_equal(volume.values, to_grey(volume.colours))
    assert volume.colours.dtype == np.uint8 and volume.colours.flags.c_contiguous
    assert volume.full_scale == 255
    assert COLOUR_AS_GREY not in volume.notes


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_nifti_in_colour(tmp_path, volume_colours, name, channels):
    nib.save(nib.Nifti1Image(structured(volume_colours, channels), OBLIQUE), tmp_path / name)
    require_placed(read_volume(tmp_path / name), volume_colours, OBLIQUE)
    assert discover_scans(tmp_path).scans[0].shape == volume_colours.shape[:3]


def test_what_is_found_in_nifti_in_colour_lies_on_its_grid(tmp_path, volume_colours):
    nib.save(nib.Nifti1Image(structured(volume_colours, "RGB"), OBLIQUE), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    AnomalyMap(volume.values, volume).save(tmp_path / "map.nii.gz")
    scan, found = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "map.nii.gz")
    assert np.array_equal(found.affine, scan.affine) and found.shape == scan.shape
    assert found.get_data_dtype() == np.float32
    np.testing.assert_array_equal(found.get_fdata(dtype=np.float32), to_grey(volume_colours))


def test_a_frame_of_nifti_in_colour(tmp_path, volume_colours):
    frames = np.stack(
        [structured(colours, "RGB") for colours in (volume_colours, volume_colours[::-1])], axis=-1
    )
    nib.save(nib.Nifti1Image(frames, OBLIQUE), tmp_path / "a.nii.gz")
    require_placed(read_volume(tmp_path / "a.nii.gz", frame=1), volume_colours[::-1], OBLIQUE)


@pytest.mark.parametrize("n_channels", [3, 4])
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.nii.gz"])
def test_volumes_in_colour_by_simpleitk(tmp_path, volume_colours, name, n_channels):
    """It writes NIfTI in colour as vectors along a fifth axis."""
    sitk = pytest.importorskip("SimpleITK")
    alpha = np.full((*volume_colours.shape[:3], n_channels - 3), 255, np.uint8)
    stored = np.concatenate([volume_colours, alpha], axis=-1)
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.transpose(2, 1, 0, 3)), isVector=True)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    steps = (to_lps @ OBLIQUE)[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((steps / spacing).ravel().tolist())
    image.SetOrigin((to_lps @ OBLIQUE)[:3, 3].tolist())
    sitk.WriteImage(image, str(tmp_path / name))
    require_placed(read_volume(tmp_path / name), volume_colours, OBLIQUE)
    (scan,) = discover_scans(tmp_path).scans
    assert scan.shape == volume_colours.shape[:3]


def test_a_picture_in_colour_as_metaimage(tmp_path, pixels):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(tmp_path / "a.mha"))
    require_beside(read_volume(tmp_path / "a.mha"), pixels[None])


def test_grey_volumes_that_are_stored_as_colour_have_none(tmp_path, volume_colours):
    grey = np.repeat(volume_colours[..., 2:], 3, axis=-1)
    nib.save(nib.Nifti1Image(structured(grey, "RGB"), OBLIQUE), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.colours is None
    np.testing.assert_allclose(volume.geometry.to_stored(volume.values), grey[..., 0], rtol=1e-6)


@pytest.mark.parametrize("turn", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, -1)])
def test_colours_are_turned_as_values_are(turn, signs):
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, turn] * [0.5, 1.0, 2.0]
    geometry = Geometry((4, 5, 6), affine)
    stored = rng.integers(0, 255, (4, 5, 6, 3), dtype=np.uint8)
    colours = geometry.colours_to_canonical(stored)
    for channel in range(3):
        expected = geometry.to_canonical(np.ascontiguousarray(stored[..., channel]))
        np.testing.assert_array_equal(colours[..., channel], expected)
    with pytest.raises(GeometryError, match=r"Colours: expected the shape \(4, 5, 6, 3\)"):
        geometry.colours_to_canonical(stored[:3])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_grey_is_the_same_however_colours_lie_in_memory(kind):
    """By its bits pictures are known again, whatever the format, the orientation and the processor."""
    colours = np.random.default_rng(0).integers(0, 250, (9, 31, 47, 4)).astype(kind)
    grey = to_grey(colours)
    assert grey.dtype == np.float32
    single = [to_grey(pixel) for pixel in colours[:2].reshape(-1, 1, 4)]
    np.testing.assert_array_equal(np.ravel(single), grey[:2].ravel())
    for axes in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        turned = colours.transpose(*axes, 3)
        for lying in (turned, np.asfortranarray(turned), turned[..., :3].copy(), turned[:, ::-1][:, ::-1]):
            np.testing.assert_array_equal(to_grey(lying), grey.transpose(axes))


@pytest.mark.parametrize("at_once", [1, 60, 130])
@pytest.mark.parametrize("where", [(0, 0, 0), (0, 3, 4), (2, 5, 6), (1, 2, 0)])
def test_a_single_pixel_in_colour_is_found_wherever_it_lies(where, at_once, monkeypatch):
    pixels = np.repeat(np.random.default_rng(0).integers(0, 200, (3, 6, 7, 1), np.uint8), 3, axis=-1)
    grey = to_grey(pixels)
    for module in ("colours", "grey"):
        monkeypatch.setattr(f"napari_dinoad.images.values.{module}._PIXELS_AT_ONCE", at_once)
    np.testing.assert_array_equal(to_grey(pixels), grey)
    assert not are_coloured(pixels) and colourfulness(pixels, 255) == 0
    pixels[where] += np.array([0, 51, 0], np.uint8)
    assert are_coloured(pixels) and are_coloured(pixels[where[0]])
    assert colourfulness(pixels, 255) == pytest.approx(0.2 / (3 * 6 * 7))


def test_colours_that_do_not_lie_on_the_grid_are_refused():
    geometry = Geometry.of_pixels((4, 5))
    values = np.zeros((1, 4, 5), np.float32)
    of_shape, of_kind = (
        r"expected colours of shape \(1, 4, 5, 3\)",
        "colours: expected a NumPy array of real numbers",
    )
    for wrong, told in (
        (np.zeros((1, 5, 4, 3), np.uint8), of_shape),
        (np.zeros((1, 4, 5), np.uint8), of_shape),
        (np.zeros((1, 4, 5, 3), np.int8), of_shape),
        (np.zeros((1, 4, 5, 3), "O"), of_kind),
    ):
        with pytest.raises(GeometryError, match=told):
            Volume(values, geometry, colours=wrong)


def test_a_model_without_colours_says_so(pixels):
    volume = Volume(to_grey(pixels)[None], Geometry.of_pixels(pixels.shape[:2]), colours=pixels[None])
    assert volume.seen(in_colour=True) is volume
    assert volume.seen(in_colour=False).notes == (COLOUR_AS_GREY,)
    assert volume.seen(False).seen(False).notes == (COLOUR_AS_GREY,)
    grey = Volume(volume.values, volume.geometry)
    assert grey.seen(in_colour=False) is grey


def test_pictures_of_one_grey_are_told_apart_only_in_colour(pixels):
    geometry, grey = Geometry.of_pixels(pixels.shape[:2]), to_grey(pixels)[None]
    one, other = (Volume(grey, geometry, colours=colours[None]) for colours in (pixels, pixels[..., ::-1]))
    assert one.content_sha256() == other.content_sha256() == Volume(grey, geometry).content_sha256()
    assert len({v.content_sha256(in_colour=True) for v in (one, other, Volume(grey, geometry))}) == 3


def test_how_much_colour(pixels):
    assert are_coloured(pixels)
    assert not are_coloured(np.repeat(pixels[..., :1], 3, axis=-1))
    grey = np.repeat(pixels[..., :1], 3, axis=-1).astype(np.float32)
    grey[2:4] = np.nan
    assert not are_coloured(grey), "NaN is unequal to itself"
    spread = np.ptp(pixels.astype(float), axis=-1).mean() / 255
    assert colourfulness(pixels[None], 255.0) == pytest.approx(spread)
    assert colourfulness(None, 255.0) == 0
    deep = np.zeros((1, 2000, 2000, 3), np.uint16)
    deep[..., 0] = 65535
    assert colourfulness(deep, 65535.0) == pytest.approx(1), "no overflow, over several blocks"


@pytest.mark.parametrize(
    ("stored", "kept"),
    [(["u1"], "u1"), (["u2", "u2"], "u2"), (["f8"], "f4"), (["i2"], "f4"), (["u1", "u2"], "f4")],
)
def test_the_type_that_colours_are_kept_in(stored, kept):
    assert colour_type(*map(np.dtype, stored)) == np.dtype(kept)
