"""What kind of scans a folder holds, guessed from a few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from dicom_files import image_dataset, save_all, series_datasets
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.preset_guess import (
    N_IMAGES,
    N_VOLUMES,
    ScanLook,
    brightness_range,
    choose_preset,
    look_at,
    mixed_in_words,
    scans_to_look_at,
    suitable_preset,
)
from napari_dinoad.images.slices import prepare_planes
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.settings import ReadSettings, preset
from small_heads import save_dicom_head, save_head

if TYPE_CHECKING:
    from pathlib import Path

VOLUME_OF_CT = ScanLook(is_ct=True, lung_share=0.0, field_mm=250.0, brightness=None)
OTHER = ScanLook(is_ct=False, lung_share=0.0, field_mm=250.0, brightness=None)


def save(path: Path, values: np.ndarray, spacing: float) -> None:
    nib.save(nib.Nifti1Image(values.astype(np.int16), np.diag([spacing, spacing, 5.0, 1.0])), path)


def trunk(background: float, *, lung: bool = False) -> np.ndarray:
    values = np.full((60, 70, 12), background)
    values[10:50, 10:60, 1:11] = 40
    if lung:
        values[15:45, 15:55, 2:10] = -800
    return values


def save_pictures(folder, whites):
    rng = np.random.default_rng(0)
    for index, white in enumerate(whites):
        image = np.zeros((48, 48), np.uint8)
        image[8:40, 8:40] = rng.integers(white // 2, white + 1, (32, 32))
        Image.fromarray(image).save(folder / f"{index:04}.png")


@pytest.mark.parametrize(
    ("background", "spacing", "lung", "name", "is_guess"),
    [
        (0, 4.0, False, "mr-brain", False),
        (-1000, 3.5, False, "ct-head", True),
        (-1000, 6.0, True, "ct-chest", True),
        (-1000, 4.0, True, "ct-chest", True),
        (-1000, 6.0, False, "ct-abdomen", True),
    ],
)
def test_volumes(tmp_path, background, spacing, lung, name, is_guess):
    for letter in "ab":
        save(tmp_path / f"{letter}.nii.gz", trunk(background, lung=lung), spacing)
    chosen = choose_preset(discover_scans(tmp_path))
    assert (chosen.name, chosen.is_guess) == (name, is_guess)
    assert chosen.why


@pytest.mark.parametrize(
    ("shape", "background", "name"),
    [
        ((60, 70, 1), 0, "mr-slices"),
        ((60, 70), 0, "mr-slices"),
        ((1, 60, 70), 0, "mr-slices"),
        ((60, 70, 1), -1000, "ct-head"),
    ],
    ids=str,
)
def test_single_slices_in_millimetres(tmp_path, shape, background, name):
    """They were guessed volumes of heads (`mr-brain`)."""
    for letter in "ab":
        save(tmp_path / f"{letter}.nii.gz", trunk(background)[..., 6].reshape(shape), 3.5)
    chosen = choose_preset(discover_scans(tmp_path))
    assert (chosen.name, chosen.is_guess) == (name, True)
    assert ("single slices" in chosen.why) == (name == "mr-slices")


def test_single_slices_of_mr_by_the_header_are_no_guess(tmp_path):
    for letter in "ab":
        slices = trunk(0)[..., 6:7].transpose(2, 1, 0).astype(np.int16)
        save_all(series_datasets(slices, Modality="MR"), tmp_path / letter)
    chosen = choose_preset(discover_scans(tmp_path))
    assert (chosen.name, chosen.is_guess) == ("mr-slices", False)


@pytest.mark.parametrize("mask", [False, True], ids=["noise around", "zeros around"])
def test_a_map_of_phase_is_no_ct(tmp_path, mask):
    """Its lowest values are lower than those of air."""
    rng = np.random.default_rng(0)
    values = rng.integers(-4096, 4096, (60, 70, 12)) * (not mask)
    values[20:40, 20:50] = np.clip(rng.normal(0, 1500, (20, 30, 12)), -4096, 4095)
    save(tmp_path / "a.nii.gz", values, 3.5)
    assert choose_preset(discover_scans(tmp_path)).name == "mr-brain"


@pytest.mark.parametrize("padding", [-1000, -2000, -3024])
def test_noise_around_air_and_padding_are_ct(tmp_path, padding):
    values = trunk(-1000) + np.random.default_rng(0).normal(0, 120, (60, 70, 12))
    values[:5] = padding
    save(tmp_path / "a.nii.gz", values, 3.5)
    assert choose_preset(discover_scans(tmp_path)).name == "ct-head"


@pytest.mark.parametrize(("spacing", "name"), [(3.5, "ct-head"), (6.0, "ct-abdomen")])
def test_foam_beside_the_body_is_no_lung(tmp_path, spacing, name):
    """Heads lie in holders, trunks on mattresses: their values are those of lung."""
    values = trunk(-1000)
    values[52:, :, 1:11] = -800
    for letter in "ab":
        save(tmp_path / f"{letter}.nii.gz", values, spacing)
    assert choose_preset(discover_scans(tmp_path)).name == name


@pytest.mark.parametrize(
    ("part", "pixel_mm", "lung", "name"),
    [
        ("ABDOMEN", 3.5, False, "ct-abdomen"),
        ("LSPINE", 3.5, False, "ct-abdomen"),
        ("HEAD", 6.0, False, "ct-head"),
        ("", 3.5, False, "ct-head"),
        ("KNEE", 6.0, False, "ct-abdomen"),
        ("ABDOMEN", 3.5, True, "ct-chest"),
    ],
)
def test_headers_tell_a_head_from_a_trunk(tmp_path, part, pixel_mm, lung, name):
    """A trunk without lung in a small field of view was guessed a head."""
    for letter in "ab":
        slices = trunk(-1000, lung=lung).transpose(2, 1, 0).astype(np.int16)
        save_all(
            series_datasets(slices, spacing=(pixel_mm, pixel_mm), gap=5.0, BodyPartExamined=part),
            tmp_path / letter,
        )
    chosen = choose_preset(discover_scans(tmp_path))
    assert (chosen.name, chosen.is_guess) == (name, True)
    assert ("of OCT or a microscope; each slice is scaled by itself" in chosen.why) == (name == "oct")


def save_film(path: Path, modality: str, *, in_colour: bool = False) -> None:
    rng = np.random.default_rng(0)
    frames = np.zeros((6, 40, 48, 3) if in_colour else (6, 40, 48), np.uint8)
    frames[:, 8:32, 8:40] = rng.integers(60, 250, frames[:, 8:32, 8:40].shape)
    film = image_dataset(frames[0], Modality=modality, NumberOfFrames=6, SeriesInstanceUID=f"1.2.{path.stem}")
    film.PixelData = frames.tobytes()
    film.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("modality", "in_colour", "name"),
    [
        ("XA", False, "image-2d"),
        ("US", True, "image-colour"),
        ("MR", False, "mr-slices"),
        ("OPT", False, "oct"),
    ],
)
def test_stacks_without_a_place_are_taken_as_pictures(tmp_path, modality, in_colour, name):
    """Angiographies were fitted as heads in MR, scaled film by film."""
    for number in (1, 2):
        save_film(tmp_path / f"{number}.dcm", modality, in_colour=in_colour)
    assert choose_preset(discover_scans(tmp_path)).name == name


@pytest.mark.parametrize(("modality", "name"), [("MR", "mr-brain"), ("CT", "ct-head"), ("OPT", "oct")])
def test_dicom_names_the_modality(tmp_path, modality, name):
    save_dicom_head(tmp_path / "head", 1, Modality=modality)
    assert choose_preset(discover_scans(tmp_path)).name == name


@pytest.mark.parametrize(
    ("whites", "name"),
    [
        ((90, 120, 150, 180, 200, 255), "mr-slices"),
        ((230, 240, 250, 255, 255, 255), "image-2d"),
        ((90, 255, 90, 255), "image-2d"),
        ((0, 0, 0, 0, 0, 0), "image-2d"),
    ],
)
def test_images_that_are_unevenly_bright_are_scaled_by_themselves(tmp_path, whites, name):
    save_pictures(tmp_path, whites)
    chosen = choose_preset(discover_scans(tmp_path))
    assert chosen.name == name
    assert chosen.is_guess == (name == "mr-slices")


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize(("white", "name"), [(1, "as stored"), (1000, "mr-slices")])
def test_images_without_a_known_white_are_scaled_by_themselves(tmp_path, white, name, channels):
    """They cannot be taken as stored: a fit refused all of them by the preset that it had chosen itself."""
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.uniform(0.1, 1, (48, 48, *channels)).astype(np.float32) * white
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels, photometric="rgb" if channels else "minisblack")
    chosen = choose_preset(discover_scans(tmp_path))
    assert chosen.name == (("image-colour" if channels else "image-2d") if name == "as stored" else name)
    assert chosen.is_guess == (chosen.name != "image-2d")
    scans = [scan.read() for scan in discover_scans(tmp_path).scans]
    assert all(prepare_planes(scan, preset(chosen.name), 64) for scan in scans)


@pytest.mark.parametrize(("n_coloured", "name"), [(4, "image-colour"), (2, "image-2d")])
def test_pictures_are_taken_in_colour_where_most_are(tmp_path, n_coloured, name):
    rng = np.random.default_rng(0)
    for number in range(5):
        image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        (image if number < n_coloured else image.convert("L").convert("RGB")).save(tmp_path / f"{number}.png")
    assert choose_preset(discover_scans(tmp_path)).name == name


@pytest.mark.parametrize("names", [("a.nii.gz", "b.nii.gz"), ("a/1.png", "a/2.png", "b/1.png", "b/2.png")])
def test_volumes_in_colour_are_taken_in_colour(tmp_path, names):
    rng = np.random.default_rng(0)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("png"):
            Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / name)
        else:
            stored = rng.integers(0, 256, (9, 8, 7, 3), dtype=np.uint8).view([(c, "u1") for c in "RGB"])[
                ..., 0
            ]
            nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / name)
    chosen = choose_preset(discover_scans(tmp_path, ReadSettings(stack_folders=True)))
    assert chosen.name == "image-colour" and chosen.is_guess


def ct_slice(rng, *, padding=None):
    """Return a slice of a head or trunk in Hounsfield units, of noise and soft edges, with a bone."""
    rows, columns = np.mgrid[:96, :96] - 47.5
    inside = gaussian_filter((np.hypot(rows / 0.8, columns) < 36).astype(float), 1)
    values = (
        -1000 + 1040 * inside + 700 * gaussian_filter((np.hypot(rows - 20, columns) < 6).astype(float), 1)
    )
    values = np.maximum(values + 12 * rng.standard_normal(values.shape), -1024)
    return values if padding is None else np.where(np.hypot(rows, columns) < 48, values, padding)


@pytest.mark.parametrize("kind", [np.float32, np.int16])
@pytest.mark.parametrize("padding", [None, -2000])
def test_pictures_of_ct_are_told_by_their_values(tmp_path, kind, padding):
    for number in range(4):
        pixels = ct_slice(np.random.default_rng(number), padding=padding).round().astype(kind)
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels)
    found = discover_scans(tmp_path)
    chosen = choose_preset(found)
    assert chosen.name == "mr-slices" and chosen.is_guess
    assert "as in CT" in chosen.why
    for name in ("ct-head", "ct-chest", "ct-abdomen"):
        assert name in chosen.also and name in chosen.why
        assert prepare_planes(found.scans[0].read(), preset(name), 64)


def not_of_ct(name, rng):
    disc = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 36
    texture = gaussian_filter(rng.standard_normal((96, 96)), 2)
    texture /= texture.std()
    return {
        "z-scores": np.where(disc, texture, texture.min()),
        "z-scores in thousandths": 1000 * np.where(disc, texture, -2 + 0.05 * texture),
        "less its background": 600 * texture,
        "wide and even": np.linspace(-2000, 10_000, 96 * 96).reshape(96, 96),
        "depth": np.linspace(-1000, 3000, 96 * 96).reshape(96, 96),
        "no value": np.where(disc, 60 + 20 * texture, -1000),
        "MR": np.where(disc, 400 + 90 * texture, 5),
        "uptake": np.where(disc, 4 + texture, 0.1),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "z-scores", "z-scores in thousandths", "less its background", "wide and even", "depth", "no value", "MR",
        "uptake",
    ],
)  # fmt: skip
def test_pictures_of_other_numbers_are_not_told_to_be_of_ct(name):
    for number in range(4):
        values = not_of_ct(name, np.random.default_rng(number)).astype(np.float32)
        assert not look_at(Volume(values[None], Geometry.of_pixels(values.shape))).is_hounsfield


def test_each_image_of_this_preset_fills_the_same_range():
    assert preset("mr-slices").intensity == preset("mr-brain").intensity == "robust-percentiles"
    assert preset("mr-slices").plane == "acquired"


def test_brightness_is_a_share_of_white_whatever_the_bits():
    rng = np.random.default_rng(0)
    pixels = np.zeros((1, 64, 64))
    pixels[:, 8:56, 8:56] = rng.integers(60, 128, (48, 48))
    bright = [
        look_at(Volume(pixels * scale, Geometry.of_pixels((64, 64)), full_scale=255.0 * scale)).brightness
        for scale in (1, 257)
    ]
    assert bright[0] == pytest.approx(126 / 255, abs=0.01)
    assert bright[1] == pytest.approx(bright[0])


def test_how_unevenly_bright_images_are():
    assert brightness_range([0.4] * 20 + [0.9] * 20) == (0.4, 0.9)
    assert brightness_range([0.7] * 20 + [0.9] * 20) is None
    assert brightness_range([0.1, 0.9, 0.1, 0.9]) is None, "too few to tell"


def test_stacks_of_images_are_taken_for_oct(tmp_path):
    save_pictures(tmp_path, [200] * 6)
    assert choose_preset(discover_scans(tmp_path, ReadSettings(stack_folders=True))).name == "oct"


@pytest.mark.parametrize(("channels", "name"), [((), "oct"), ((3,), "image-colour")])
def test_stacks_of_pages_are_taken_for_oct_as_folders_of_them_are(tmp_path, channels, name):
    rng = np.random.default_rng(0)
    for number in range(3):
        pages = rng.integers(0, 200, (9, 48, 64, *channels), np.uint8)
        pages[..., 0] //= 2
        tifffile.imwrite(tmp_path / f"{number}.tif", pages, photometric="rgb" if channels else "minisblack")
    chosen = choose_preset(discover_scans(tmp_path))
    assert (chosen.name, chosen.is_guess) == (name, True)


def test_the_scans_looked_at_are_spread_over_the_folder(tmp_path):
    save_pictures(tmp_path, [200] * (N_IMAGES + 20))
    names = [int(scan.name) for scan in scans_to_look_at(discover_scans(tmp_path))]
    assert N_IMAGES <= len(names) == len(set(names)) <= N_IMAGES + N_VOLUMES
    assert names[:N_VOLUMES] == sorted(names[:N_VOLUMES])
    assert np.diff(sorted(names)).max() <= 2
    assert {min(names), max(names)} == {names[0], names[N_VOLUMES - 1]} == {0, N_IMAGES + 19}


def test_of_volumes_only_a_few_are_read(tmp_path):
    for number in range(12):
        save(tmp_path / f"{number:02}.nii.gz", trunk(0), 4.0)
    found = discover_scans(tmp_path)
    assert [scan.name for scan in scans_to_look_at(found)] == ["00", "03", "06", "08", "11"]


def test_scans_that_cannot_be_read_are_passed_over(tmp_path):
    save(tmp_path / "a.nii.gz", trunk(-1000), 3.5)
    save(tmp_path / "zero.nii.gz", np.zeros((8, 8, 8)), 4.0)
    assert choose_preset(discover_scans(tmp_path)).name == "ct-head"


def test_progress_is_told_and_may_cancel(tmp_path):
    save_pictures(tmp_path, [200] * 6)
    told = []
    choose_preset(discover_scans(tmp_path), progress=told.append)
    assert [(event.done, event.total) for event in told] == [(n, 6) for n in range(6)]


def test_what_headers_say_counts_without_a_look(tmp_path):
    save_dicom_head(tmp_path / "head", 1, Modality="OPT")
    found = discover_scans(tmp_path)
    assert suitable_preset(found, [VOLUME_OF_CT]).name == "oct"


def test_ct_among_other_scans_is_told(tmp_path):
    found = discover_scans(tmp_path)
    assert mixed_in_words(found, [VOLUME_OF_CT] * 3) == mixed_in_words(found, [OTHER] * 3) == ""
    assert mixed_in_words(found) == ""
    words = "of the 5 scans looked at {} CT, the others are not: fit a model of each kind."
    assert mixed_in_words(found, [OTHER, VOLUME_OF_CT, OTHER, OTHER, OTHER]) == "1 " + words.format("is")
    assert mixed_in_words(found, [VOLUME_OF_CT] * 4 + [OTHER]) == "4 " + words.format("are")


def save_series(folder, *modalities):
    for number, modality in enumerate(modalities):
        save_dicom_head(folder / f"{number}", number, Modality=modality, SeriesInstanceUID=f"1.2.{number}")


@pytest.mark.parametrize(
    ("modalities", "told"),
    [
        (("MR", "CT", "MR", "MR"), "By their headers the scans are 3 × MR, 1 × CT"),
        (("PT", "CT"), "By their headers the scans are 1 × PT, 1 × CT"),
        (("MR", "MR"), ""),
        (("CR", "DX", "OT"), ""),
    ],
)
def test_modalities_of_headers_are_told_without_a_look(tmp_path, modalities, told):
    """The five scans looked at need not be of each kind, and CT that was cut out has no air."""
    save_series(tmp_path, *modalities)
    found = discover_scans(tmp_path)
    assert mixed_in_words(found) == (f"{told}: fit a model of each kind." if told else "")
    assert suitable_preset(found, [OTHER] * len(modalities)).mixed == mixed_in_words(found)


@pytest.mark.parametrize(("modality", "looks"), [("CT", [OTHER] * 3), ("MR", [VOLUME_OF_CT] * 3)])
def test_a_modality_other_than_what_was_looked_at_is_told(tmp_path, modality, looks):
    save_series(tmp_path, modality)
    for letter in "abc":
        save(tmp_path / f"{letter}.nii.gz", trunk(0), 4.0)
    suitable = suitable_preset(discover_scans(tmp_path), looks)
    assert suitable.mixed.startswith(f"1 of the 4 scans is {modality} by the header")
    assert "volumes with no values as low" not in suitable.why


def test_the_header_counts_more_than_the_values():
    """Phase images of MR go down to −4096, and CT of which the air was cut out does not."""
    geometry = Geometry(trunk(0).shape, np.eye(4))
    volume = Volume(trunk(-4096).transpose(2, 1, 0), geometry)
    assert [look_at(volume, modality).is_ct for modality in ("", "OT", "MR", "CT")] == [
        True,
        True,
        False,
        True,
    ]
    empty = Volume(trunk(0).transpose(2, 1, 0), geometry)
    assert [look_at(empty, modality).is_ct for modality in ("", "CT")] == [False, True]


SEVERAL_SERIES = "fit a model of each kind, chosen by its series. (dinoad fit --series NAME)"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a_T1w", "a_T2w", "b_T1w"), "By their names the scans are 2 × T1, 1 × T2"),
        (("a_T1w", "b_T2w", "c", "d"), "By their names the scans are 1 × T1, 1 × T2, 2 × without a sequence"),
        (("a-t1n", "a-t1c", "a-t2f"), "By their names the scans are 1 × T1 with contrast, 1 × T1, 1 × FLAIR"),
        (("a_T1w", "b-t1n", "MNI152"), ""),
        (("a/t1", "a/flair", "b/t1"), "By their names the scans are 2 × T1, 1 × FLAIR"),
        (
            ("imagesTr/a_0000", "imagesTr/a_0001"),
            "By their names the scans are 1 × channel 0000, 1 × channel 0001",
        ),
        (("a_0000", "a_0001"), ""),
        (("T1/a", "T1/b", "FLAIR/a"), "By their folders the scans are 2 × T1/*, 1 × FLAIR/*"),
        (("T1/a", "T1w/a", "FLAIR/c"), ""),
        (("a/mprage", "a/T1pre", "b/3DT1", "b/T1W"), ""),
        (
            ("a/T1W", "a/T1WKS", "b_ncct", "b_cta"),
            "By their names the scans are 1 × T1, 1 × T1 with contrast, 1 × CTA, 1 × CT",
        ),
    ],
)
def test_sequences_that_names_tell_are_several_kinds(tmp_path, names, told):
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_head(tmp_path / f"{name}.nii.gz", seed)
    mixed = mixed_in_words(discover_scans(tmp_path))
    assert mixed == (f"{told}: {SEVERAL_SERIES}" if told else "")


@pytest.mark.parametrize(
    ("series", "told"),
    [
        ((("1", "T1"), ("1", "T2"), ("2", "T1"), ("2", "T2"), ("3", "T1")), "2 of the 3 studies hold"),
        ((("1", "soft"), ("1", "bone")), "1 of the 1 studies holds"),
        ((("1", "T1"), ("1", "T2"), ("2", "T1"), ("3", "T1")), ""),
        ((("1", "T1"), ("2", "t1 mprage"), ("3", "T1 SAG")), ""),
        ((("1", "T1"), ("1", "T1"), ("2", "T1")), ""),
    ],
)
def test_several_series_of_most_studies_are_several_kinds(tmp_path, series, told):
    """Scanners call one sequence by several names: descriptions alone tell of no mix."""
    for number, (study, description) in enumerate(series):
        tags = {"StudyInstanceUID": f"1.2.{study}", "SeriesInstanceUID": f"1.3.{number}"}
        save_dicom_head(tmp_path / str(number), number, SeriesDescription=description, **tags)
    mixed = mixed_in_words(discover_scans(tmp_path))
    assert mixed == (f"{told} several series: {SEVERAL_SERIES}" if told else "")
    assert "T2" not in mixed, "a description may hold what a person typed"


def test_series_without_description_are_told_apart_by_their_numbers(tmp_path):
    """As anonymisation leaves them: none was offered, and nothing said of several."""
    for number, (study, series) in enumerate([(1, 3), (1, 4), (2, 3), (2, 4), (3, 3)]):
        tags = {
            "StudyInstanceUID": f"1.2.{study}",
            "SeriesInstanceUID": f"1.3.{number}",
            "SeriesNumber": series,
        }
        save_dicom_head(tmp_path / str(number), number, **tags)
    found = discover_scans(tmp_path)
    assert found.series == (("3", 3), ("4", 2))
    assert mixed_in_words(found) == f"2 of the 3 studies hold several series: {SEVERAL_SERIES}"
    assert len(discover_scans(tmp_path, ReadSettings(series="3")).scans) == 3


@pytest.mark.parametrize(
    ("shape", "field_mm"), [((40, 30, 90), 90.0), ((40, 30, 1), 90.0), ((1, 30, 90), 450.0)]
)
def test_the_field_of_view_is_the_longer_side_of_a_slice(shape, field_mm):
    """However long a volume is: a trunk and a head may be scanned equally far."""
    volume = Volume(np.zeros(shape[::-1]), Geometry(shape, np.diag([2.0, 3.0, 5.0, 1.0])))
    assert look_at(volume).field_mm == field_mm


@pytest.mark.parametrize(("n_without", "name"), [(1, "image-2d"), (2, "image-2d"), (3, "mr-slices")])
def test_most_images_say_whether_white_is_known(tmp_path, n_without, name):
    save_pictures(tmp_path, [200] * 4)
    looks = [ScanLook(False, 0.0, None, None if n < n_without else 0.8) for n in range(4)]
    assert suitable_preset(discover_scans(tmp_path), looks).name == name
