"""Models of pictures in colour: what they find that the grey does not show, and what is told of colours."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from coloured_pictures import eight_bits, picture, with_lesion
from napari_dinoad import Detector, NormativeModel, detect, fit_folder, preset, read_volume
from napari_dinoad.backbones.embedded import backbone as embedded
from napari_dinoad.errors import ModelFileError, ScanReadError
from napari_dinoad.evaluation import auroc
from napari_dinoad.images.pictures import reader as picture_reader
from napari_dinoad.images.values.grey import COLOUR_AS_GREY
from napari_dinoad.pipeline.cohort.cohort_notes import colour_note
from napari_dinoad.pipeline.fit.updating import update_model
from napari_dinoad.settings import (
    CacheSettings,
    ClusterSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
)

SIDE_PX, N_NORMAL = 128, 8
PRESET = preset("image-colour")
DISC = np.hypot(*(np.indices((SIDE_PX, SIDE_PX)) - SIDE_PX / 2)) < 0.47 * SIDE_PX
GREY_NOTE = "It is grey and the normal scans are in colour"


def settings_of(name):
    return FitSettings(
        scorer="memory-bank",
        preprocessing=replace(preset(name), resolution_px=SIDE_PX, body_mask="off"),
        memory_bank=MemoryBankSettings(n_patches=2000, reduction="random"),
    )


def save(path, pixels):
    Image.fromarray(eight_bits(pixels)).save(path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of normal pictures in colour."""
    folder = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for number in range(N_NORMAL):
        save(folder / f"normal_{number}.png", picture("fundus", rng, SIDE_PX))
    return folder


@pytest.fixture(scope="module")
def hue_lesion(tmp_path_factory):
    """A picture with a lesion of another hue and the same luminance, and where it is."""
    rng = np.random.default_rng(3)
    pixels, where = with_lesion(picture("fundus", rng, SIDE_PX), "hue", rng)
    return save(tmp_path_factory.mktemp("patient") / "patient.png", pixels), where


@pytest.fixture(scope="module")
def models(pictures):
    return {name: fit_folder(pictures, settings_of(name)) for name in ("image-2d", "image-colour")}


def test_a_lesion_of_hue_is_found_in_colour_and_not_in_grey(models, hue_lesion):
    path, where = hue_lesion
    volume = read_volume(path)
    maps = {name: detect(volume, model).anomaly_map.values[0] for name, model in models.items()}
    assert auroc(maps["image-colour"].ravel(), where.ravel()) > 0.95
    assert auroc(maps["image-2d"].ravel(), where.ravel()) < 0.75
    assert maps["image-colour"][where].mean() > 4 * maps["image-2d"][where].mean()


def test_a_lesion_of_hue_leaves_no_trace_in_grey():
    """So that the test above is one of colour: what the lesion turns is the same grey before, to rounding."""
    rng = np.random.default_rng(3)
    normal = picture("fundus", rng, SIDE_PX)
    lesioned, where = with_lesion(normal, "hue", rng)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(lesioned @ luma, normal @ luma, atol=1e-9)
    assert np.abs(lesioned - normal)[where].mean() > 0.1


def test_a_model_in_colour_goes_through_its_file(models, hue_lesion, tmp_path):
    model = models["image-colour"]
    loaded = NormativeModel.load(model.save(tmp_path / "colour.dinoad"))
    assert loaded.preprocessing == model.preprocessing
    assert loaded.preprocessing.colour
    assert loaded.backbone.embedding_dim == 73
    volume = read_volume(hue_lesion[0])
    np.testing.assert_array_equal(
        detect(volume, loaded).anomaly_map.values, detect(volume, model).anomaly_map.values
    )


def test_the_file_of_a_model_in_grey_says_nothing_of_colour(models, tmp_path):
    """As before there was any: files of that time load, and are grey; programs of that time load these."""
    path = models["image-2d"].save(tmp_path / "grey.dinoad")
    with safe_open(path, "np") as stored:
        document = json.loads(stored.metadata()["napari_dinoad"])
    assert "colour" not in document["preprocessing"]
    assert not any(name.startswith("colour") for cohort in document["cohorts"] for name in cohort)
    assert not NormativeModel.load(path).preprocessing.colour


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of normal pictures of a disc on black."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(N_NORMAL):
        save(folder / f"normal_{number}.png", picture("fundus", rng, SIDE_PX) * DISC[..., np.newaxis])
    return folder


def test_what_is_written_beside_a_field_of_view_is_not_scored(photographs, tmp_path):
    """Models fitted before it was looked for hold that none is, and score all as they did."""
    settings = replace(settings_of("image-colour"), preprocessing=replace(PRESET, resolution_px=SIDE_PX))
    before = replace(settings, preprocessing=replace(settings.preprocessing, body_mask="off"))
    pixels = picture("fundus", np.random.default_rng(5), SIDE_PX) * DISC[..., np.newaxis]
    pixels[2:8, 2:20:2] = 1.0
    volume = read_volume(save(tmp_path / "patient.png", pixels))
    maps = []
    for number, fitted in enumerate((settings, before)):
        model = fit_folder(photographs, fitted).save(tmp_path / f"{number}.dinoad")
        maps.append(detect(volume, NormativeModel.load(model)).anomaly_map.values[0])
    text = np.s_[:9, :21]
    assert not maps[0][text].any()
    assert (maps[0][DISC] > 0).mean() > 0.95
    assert maps[1][text].max() > 2


def test_it_is_told_where_colours_are_not_seen(models, hue_lesion):
    volume = read_volume(hue_lesion[0])
    for name, is_told in (("image-2d", True), ("image-colour", False)):
        detection = detect(volume, models[name])
        notes = detection.findings(detection.mask(), "patient.png").all_notes()
        assert (COLOUR_AS_GREY in notes) == is_told


def test_a_fit_in_grey_names_the_preset_in_one_line(pictures, caplog):
    with caplog.at_level(logging.WARNING):
        fit_folder(pictures, settings_of("image-2d"))
    told = [record.message for record in caplog.records]
    assert told == [
        f"{N_NORMAL} of {N_NORMAL} pictures are in colour and were read as grey. --preset image-colour fits on "
        "their colours."
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        fit_folder(pictures, settings_of("image-colour"))
    assert not caplog.records


def test_most_pictures_must_be_in_colour_to_say_so():
    grey, coloured = {"colour": 0.004}, {"colour": 0.3}
    settings = preset("image-2d")
    assert colour_note([coloured, coloured, grey], settings).startswith("2 of 3 pictures are in colour")
    assert not colour_note([coloured, grey], settings)
    assert not colour_note([{}, {}], settings), "as kept from before it was noted"
    assert not colour_note([coloured] * 3, preset("image-colour"))


def test_a_grey_picture_is_scored_in_colour_and_it_is_told(models, pictures, tmp_path):
    with Image.open(pictures / "normal_0.png") as image:
        image.convert("L").convert("RGB").save(tmp_path / "grey.png")
    grey = read_volume(tmp_path / "grey.png")
    assert grey.colours is None
    detection = detect(grey, models["image-colour"])
    assert any(note.startswith(GREY_NOTE) for note in detection.unlike)
    coloured = read_volume(pictures / "normal_0.png")
    for model, scan in (("image-colour", coloured), ("image-2d", grey)):
        assert not any("colour" in note for note in Detector(models[model]).unlike(scan))


def test_grey_normal_pictures_may_be_fitted_in_colour(pictures, tmp_path):
    """As the grey kinds of a benchmark whose others are in colour."""
    (tmp_path / "normals").mkdir()
    for path in pictures.glob("*.png"):
        with Image.open(path) as image:
            image.convert("L").save(tmp_path / "normals" / path.name)
    model = fit_folder(tmp_path / "normals", settings_of("image-colour"))
    grey = read_volume(tmp_path / "normals" / "normal_1.png")
    assert not any("colour" in note for note in Detector(model).unlike(grey))
    told = Detector(model).unlike(read_volume(pictures / "normal_1.png"))
    assert any(note.startswith("It is in colour and the normal scans are grey") for note in told)


def test_pictures_that_differ_in_hue_alone_are_no_copies_in_colour(tmp_path, monkeypatch):
    # Of bytes no two colours have the very same luminance: green stands for it.
    monkeypatch.setattr(picture_reader, "to_grey", lambda pixels: pixels[..., 1].astype(np.float32))
    rng = np.random.default_rng(0)
    green = rng.integers(60, 190, (SIDE_PX, SIDE_PX)).astype(np.uint8)
    for number in range(3):
        colours = np.stack([green, green, green + np.uint8(20 * (number + 1))], axis=-1)
        Image.fromarray(colours).save(tmp_path / f"{number}.png")
    Image.fromarray(colours).save(tmp_path / "copy.png", compress_level=0)
    model = fit_folder(tmp_path, settings_of("image-colour"))
    assert len(model.fit_report.scans) == 3
    assert [item.reason for item in model.fit_report.skipped] == ["the same content as 2.png"]
    with pytest.raises(ScanReadError, match=r"got 1\. Skipped: 1\.png: the same content as 0\.png"):
        fit_folder(tmp_path, settings_of("image-2d"))


def test_embeddings_in_colour_are_kept_apart_from_grey(pictures, tmp_path):
    cache = CacheSettings(str(tmp_path), keep=True)
    in_grey = fit_folder(pictures, settings_of("image-2d"), cache=cache)
    in_colour = fit_folder(pictures, settings_of("image-colour"), cache=cache)
    assert (in_grey.backbone.embedding_dim, in_colour.backbone.embedding_dim) == (51, 73)
    again = fit_folder(pictures, settings_of("image-colour"), cache=cache)
    assert again.calibration.threshold(0.01) == in_colour.calibration.threshold(0.01)


@pytest.fixture
def other_constants(monkeypatch):
    """Constants of colour as a later version might have."""
    first = embedded.colour_constants()
    later = replace(first, std=tuple(2 * value for value in first.std), sha256="1" * 64)
    monkeypatch.setattr(embedded, "colour_constants", lambda: later)


def test_a_model_of_other_constants_of_colour_is_refused(models, pictures, other_constants):
    with pytest.raises(ModelFileError, match="was fitted with other weights"):
        Detector(models["image-colour"])
    Detector(models["image-2d"])
    later = fit_folder(pictures, settings_of("image-colour"))
    assert later.backbone.weights_sha256 != models["image-colour"].backbone.weights_sha256
    Detector(later)


def test_scans_are_added_with_the_constants_of_the_model(pictures, tmp_path, request):
    settings = replace(settings_of("image-colour"), scorer="dpmm", dpmm=DpmmSettings(n_components=5))
    earlier = fit_folder(pictures, settings)
    request.getfixturevalue("other_constants")
    for number in range(3):
        save(tmp_path / f"{number}.png", picture("fundus", np.random.default_rng(90 + number), SIDE_PX))
    with pytest.raises(ModelFileError, match="was fitted with other weights"):
        update_model(earlier, tmp_path, settings)
    later = fit_folder(pictures, settings)
    assert update_model(later, tmp_path, settings).provenance.n_scans == N_NORMAL + 3


def test_embeddings_of_other_constants_of_colour_are_not_taken(pictures, tmp_path, request):
    cache = CacheSettings(str(tmp_path), keep=True)
    settings = {name: settings_of(name) for name in ("image-2d", "image-colour")}
    first = {name: fit_folder(pictures, settings[name], cache=cache) for name in settings}
    request.getfixturevalue("other_constants")
    later = {name: fit_folder(pictures, settings[name], cache=cache) for name in settings}
    afresh = fit_folder(pictures, settings["image-colour"])
    thresholds = {name: model.calibration.threshold(0.01) for name, model in later.items()}
    assert thresholds["image-colour"] == afresh.calibration.threshold(0.01)
    assert thresholds["image-colour"] != first["image-colour"].calibration.threshold(0.01)
    assert thresholds["image-2d"] == first["image-2d"].calibration.threshold(0.01)
    assert len(list((tmp_path / "embeddings").iterdir())) == 3 * N_NORMAL


@pytest.mark.slow
def test_workers_see_colours(pictures, models):
    pytest.importorskip("distributed")
    model = fit_folder(pictures, settings_of("image-colour"), cluster=ClusterSettings(workers=1))
    expected = models["image-colour"].calibration
    assert model.backbone.embedding_dim == 73
    assert model.calibration.threshold(0.01) == pytest.approx(expected.threshold(0.01), rel=1e-3)
