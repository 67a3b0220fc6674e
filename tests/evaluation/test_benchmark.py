"""A benchmark from files to figures; scikit-learn is the oracle."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from added_keys import added_keys
from napari_dinoad.errors import (
    Cancelled,
    DinoadError,
    GeometryError,
    ScanReadError,
    ScorerError,
    SettingError,
)
from napari_dinoad.evaluation.benchmark import evaluate_dataset
from napari_dinoad.evaluation.datasets import find_dataset
from napari_dinoad.evaluation.labelled_scans import EvaluationSet, LabelledScan
from napari_dinoad.evaluation.metrics import dice
from napari_dinoad.evaluation.truths import at_protocol, read_truth
from napari_dinoad.images import scans_ahead
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.settings import EvaluationSettings
from patience import PATIENCE_S

SHAPE = (60, 50)


def truth_of(number):
    mask = np.zeros(SHAPE, bool)
    mask[10 : 20 + number, 15 : 25 + number] = True
    return mask


def test_a_scan_is_let_go_before_the_next_one_is_read(benchmark):
    seen = []

    def scored(volume):
        seen.append(weakref.ref(volume.values))
        return brightness(volume)

    def told(event):
        assert all(values() is None for values in seen), "a scan of before takes memory still"

    assert not evaluate_dataset(find_dataset(benchmark), scored, EvaluationSettings(), told).failed
    assert len(seen) > 3


def brightness(volume):
    """A stand-in for a model: brighter is more abnormal, as −log10 p from 0 to 4."""
    return volume.values / np.float32(63.75)


@pytest.fixture
def benchmark(tmp_path):
    """Two normal validation scans, two normal and three abnormal test scans, of which one mask is RGBA."""
    rng = np.random.default_rng(0)

    def save(path, mask, number=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(rng.normal(90, 30, SHAPE) + 70 * mask, 1, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        stored = np.uint8(255) * mask
        if number == 3:
            stored = np.dstack([0 * stored, stored, 0 * stored, np.full(SHAPE, 255, np.uint8)])
        elif number == 4:
            stored = np.uint8(2) * mask
        label = path.parent.parent / "label" / path.name
        label.parent.mkdir(exist_ok=True)
        Image.fromarray(stored).save(label)

    nothing = np.zeros(SHAPE, bool)
    for number in range(2):
        save(tmp_path / f"valid/good/img/{number}.png", nothing)
        save(tmp_path / f"test/good/img/{number}.png", nothing)
    save(tmp_path / "valid/Ungood/img/9.png", truth_of(1))
    for number in (2, 3, 4):
        save(tmp_path / f"test/Ungood/img/{number}.png", truth_of(number), number)
    return tmp_path


def pooled(folder):
    """Return scores and truth of all test scans, read without the code under test."""
    scores, truths = [], []
    for path in sorted(folder.glob("test/*/img/*.png")):
        scores.append(np.asarray(Image.open(path)).ravel() / np.float32(63.75))
        number = int(path.stem)
        truths.append((truth_of(number) if number > 1 else np.zeros(SHAPE, bool)).ravel())
    return np.concatenate(scores), np.concatenate(truths)


def test_figures_agree_with_scikit_learn(benchmark):
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    values = figures.values
    scores, truth = pooled(benchmark)
    assert not figures.failed
    assert (values["n_test"], values["n_test_abnormal"], values["n_validation_normal"]) == (5, 3, 2)
    assert values["abnormal_share"] == truth.mean()
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    assert values["pixel_aupr"] == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
    thresholds = np.unique(scores)
    assert values["best_dice"] == pytest.approx(max(dice(scores >= t, truth) for t in thresholds), abs=1e-9)
    assert values["image_auroc_top"] == 1.0
    assert 0 < values["aupro"] <= 1


def test_each_test_scan_has_figures_of_its_own(benchmark):
    """There were figures of all scans together alone: none told which scan a method misses."""
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    assert [len(figures.scans), sum(scan["is_abnormal"] for scan in figures.scans)] == [5, 3]
    at = figures.values["dice_at_fpr"]["0.05"]["threshold_neg_log10_p"]
    for scan in figures.scans:
        path = Path(scan["scan"])
        scores = np.asarray(Image.open(path)).ravel() / np.float32(63.75)
        truth = (truth_of(int(path.stem)) if scan["is_abnormal"] else np.zeros(SHAPE, bool)).ravel()
        assert (scan["n_pixels"], scan["n_abnormal_pixels"]) == (truth.size, truth.sum())
        assert scan["score_max"] == pytest.approx(scores.max(), rel=1e-6)
        if not scan["is_abnormal"]:
            assert (
                scan["pixel_auroc"] is scan["pixel_aupr"] is scan["best_dice"] is scan["dice_at_0.05"] is None
            )
            continue
        assert scan["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        assert scan["pixel_aupr"] == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
        assert scan["best_dice"] == pytest.approx(
            max(dice(scores >= t, truth) for t in np.unique(scores)), abs=1e-9
        )
        assert scan["dice_at_0.05"] == pytest.approx(dice(scores >= at, truth), abs=0.02)


def test_each_scan_is_told_before_it_is_scored(benchmark):
    events, when = [], []

    def scored(volume):
        when.append(len(events))
        return brightness(volume)

    evaluate_dataset(find_dataset(benchmark), scored, EvaluationSettings(), events.append)
    told = [(event.stage, event.done, event.total) for event in events]
    validation = [("Scoring normal validation scans", done, 2) for done in range(2)]
    assert told == [*validation, *(("Scoring test scans", done, 5) for done in range(6))]
    assert when == list(range(1, 8))


def test_a_scan_without_a_mask_has_nothing_abnormal(benchmark):
    scan = read_volume(benchmark / "test/good/img/0.png")
    truth = read_truth(None, scan)
    assert truth.shape == scan.values.shape and not truth.any()


def test_thresholds_come_from_normal_validation_scans_alone(benchmark):
    values = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings()).values
    assert values["thresholds_from"] == "normal validation scans"
    normal = np.concatenate(
        [np.asarray(Image.open(path)).ravel() for path in sorted(benchmark.glob("valid/good/img/*.png"))]
    )
    scores, truth = pooled(benchmark)
    for rate in (0.01, 0.05, 0.1):
        levels = np.unique(normal)
        level = min(level for level in levels if (normal >= level).mean() <= rate) / np.float32(63.75)
        at = values["dice_at_fpr"][f"{rate:g}"]
        assert at["dice"] == pytest.approx(dice(scores >= level, truth), abs=1e-9)
        assert at["test_fpr"] == pytest.approx((scores[~truth] >= level).mean(), abs=1e-9)


def test_dice_and_rate_are_of_one_mask_where_a_threshold_falls_into_a_bin(benchmark):
    """−log10 of 5 % lies above some scores of its bin; either all of them are marked or none."""
    threshold = np.float32(-np.log10(0.05))
    below = np.nextafter(threshold, np.float32(0))
    for part in ("valid/good", "valid/Ungood"):
        for path in benchmark.glob(f"{part}/*/*.png"):
            path.unlink()

    def score(volume):
        scores = brightness(volume)
        scores[..., ::2] = below
        return scores

    values = evaluate_dataset(find_dataset(benchmark), score, EvaluationSettings()).values
    at = values["dice_at_fpr"]["0.05"]
    scores, truth = pooled(benchmark)
    scores.reshape(-1, SHAPE[1])[:, ::2] = below
    assert at["dice"] == pytest.approx(dice(scores >= below, truth), abs=1e-9)
    assert at["test_fpr"] == pytest.approx((scores[~truth] >= below).mean(), abs=1e-9)


def test_an_image_of_the_abnormal_folder_counts_as_abnormal_though_its_mask_is_empty(benchmark):
    """As an image only: its pixels are normal ones."""
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(benchmark / "test/Ungood/label/2.png")
    values = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings()).values
    assert values["n_test_abnormal"] == 3
    n_abnormal = truth_of(3).sum() + truth_of(4).sum()
    assert values["abnormal_share"] == pytest.approx(n_abnormal / (5 * truth_of(0).size))


def test_a_validation_scan_that_its_mask_shows_to_be_abnormal_is_told(benchmark):
    for part in ("img", "label"):
        (benchmark / f"valid/Ungood/{part}/9.png").rename(benchmark / f"valid/good/{part}/9.png")
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    assert figures.values["n_validation_normal"] == 2
    (item,) = figures.unused
    assert item.path == benchmark / "valid/good/img/9.png"
    assert "only normal validation scans" in item.reason


def test_without_a_validation_split_the_models_calibration_sets_thresholds(tmp_path, benchmark):
    flat = tmp_path / "flat"
    for part in ("img", "label"):
        (flat / part).mkdir(parents=True)
        for path in benchmark.glob(f"test/Ungood/{part}/*.png"):
            path.rename(flat / part / path.name)
    values = evaluate_dataset(find_dataset(flat), brightness, EvaluationSettings()).values
    assert values["thresholds_from"] == "the model's calibration"
    assert values["dice_at_fpr"]["0.01"]["threshold_neg_log10_p"] == 2.0
    assert values["image_auroc_max"] is None, "all images are abnormal: not defined"


@pytest.mark.parametrize(("protocol", "side"), [("ar240", 240), ("bmad224", 224)])
def test_protocols_set_the_resolution(benchmark, protocol, side):
    values = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings(protocol)).values
    assert values["n_pixels"] == 5 * side * side
    native = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings()).values
    assert values["abnormal_share"] == pytest.approx(native["abnormal_share"], rel=0.05)
    assert values["pixel_auroc"] > native["pixel_auroc"] - 0.02


def test_resizing_keeps_maps_and_masks_aligned():
    scores, truth = np.zeros((1, 60, 50), np.float32), np.zeros((1, 60, 50), bool)
    scores[0, 20:40, 10:30], truth[0, 20:40, 10:30] = 5, True
    resized, marked = at_protocol(scores, truth, "ar240")
    assert resized.shape == marked.shape == (1, 240, 240)
    assert (resized[marked] > 1.8).all()
    assert dice(resized > 2.5, marked) > 0.98


def test_scans_that_cannot_be_used_are_named_and_the_others_counted(benchmark):
    (benchmark / "test/Ungood/img/5.png").write_text("no image")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(benchmark / "test/Ungood/label/2.png")
    (benchmark / "test/Ungood/label/5.png").write_text("no image")
    (benchmark / "test/Ungood/label/4.png").unlink()
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    assert figures.values["n_test"] == 3
    reasons = {path.stem: reason for path, reason in figures.failed}
    assert set(reasons) == {"2", "4", "5"}
    assert "expected a mask of the scan's shape" in reasons["2"]
    assert "without a mask" in reasons["4"]


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")  # Pillow's own
@pytest.mark.parametrize("kept", [0.02, 0.5])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".nii", ".mgz"])
def test_a_broken_mask_is_one_failed_scan(benchmark, suffix, kept):
    path = benchmark / f"test/Ungood/label/2{suffix}"
    pages = [Image.fromarray(truth_of(number)) for number in range(6)]
    if suffix in (".tif", ".png"):
        options = {"save_all": True, "append_images": pages[1:]} if suffix == ".tif" else {}
        pages[0].save(path, **options)
    else:
        kind = nib.MGHImage if suffix == ".mgz" else nib.Nifti1Image
        nib.save(kind(np.uint8(truth_of(2))[..., np.newaxis], np.eye(4)), path)
    if suffix != ".png":
        path.with_suffix(".png").unlink()
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    assert [scan.name for scan, _ in figures.failed] == ["2.png"]
    assert path.name in figures.failed[0][1]
    assert figures.values["n_test"] == 4


def test_a_scan_whose_mask_cannot_be_told_is_not_counted_as_normal(benchmark):
    mask = benchmark / "test/Ungood/label/2.png"
    mask.with_stem("2_mask").write_bytes(mask.read_bytes())
    dataset = find_dataset(benchmark)
    figures = evaluate_dataset(dataset, brightness, EvaluationSettings())
    assert (figures.values["n_test"], figures.values["n_test_abnormal"]) == (4, 2)
    ((path, reason),) = figures.failed
    assert path == benchmark / "test/Ungood/img/2.png"
    assert "2.png" in reason
    assert "2_mask.png" in reason
    assert len(dataset.unmatched) == 2


@pytest.mark.parametrize(
    "error", [SettingError("2: too bright"), ScorerError("too bright"), GeometryError("too bright")]
)
def test_a_scan_that_does_not_suit_the_model_fails_alone(benchmark, error):
    def score(volume):
        if volume.name == "2":
            raise error
        return brightness(volume)

    figures = evaluate_dataset(find_dataset(benchmark), score, EvaluationSettings())
    path = benchmark / "test/Ungood/img/2.png"
    assert figures.failed == ((path, f"{path}: too bright"),)
    assert figures.values["n_test"] == 4


def test_a_map_that_cannot_be_used_leaves_no_trace_in_the_figures(benchmark):
    def score(volume):
        return brightness(volume) * (np.float32("nan") if volume.name == "2" else 1)

    figures = evaluate_dataset(find_dataset(benchmark), score, EvaluationSettings())
    assert len(figures.failed) == 1
    (benchmark / "test/Ungood/img/2.png").unlink()
    assert (
        figures.values == evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings()).values
    )


def test_a_volume_among_images_fails_a_protocol_of_images_before_it_is_scored(benchmark):
    volume = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), benchmark / "test/good/img/0.nii")
    (benchmark / "test/good/img/0.png").unlink()
    (benchmark / "test/good/label/0.png").unlink()

    def score(volume):
        assert 1 in volume.values.shape
        return brightness(volume)

    figures = evaluate_dataset(find_dataset(benchmark), score, EvaluationSettings("ar240"))
    assert "0.nii: Protocol ar240: expected 2D images" in figures.failed[0][1]
    assert figures.values["n_test"] == 4


def test_no_usable_scan_is_told_and_cancelling_passes(benchmark):
    def fail(volume):
        raise ScanReadError("x: broken")

    with pytest.raises(DinoadError, match="No test scan could be used; the first reason: x: broken"):
        evaluate_dataset(find_dataset(benchmark), fail, EvaluationSettings())

    def stop(event):
        raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings(), stop)


def test_volumes_with_their_truth_in_any_orientation(tmp_path):
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, -3, 9], [0, 0, 0, 1]])
    stored = np.random.default_rng(0).random((7, 8, 9)).astype(np.float32)
    mask = stored > 0.8
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "p.nii.gz")
    nib.save(nib.Nifti1Image(mask.astype(np.uint8) * 3, affine), tmp_path / "p_mask.nii.gz")
    values = evaluate_dataset(find_dataset(tmp_path), lambda v: v.values, EvaluationSettings()).values
    assert values["pixel_auroc"] == 1.0
    with pytest.raises(DinoadError, match=r"p\.nii\.gz: Protocol ar240: expected 2D images"):
        evaluate_dataset(find_dataset(tmp_path), lambda v: v.values, EvaluationSettings("ar240"))
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), tmp_path / "p_mask.nii.gz")
    with pytest.raises(ScanReadError, match="another grid"):
        read_truth(tmp_path / "p_mask.nii.gz", read_volume(tmp_path / "p.nii.gz"))


def test_masks_in_another_orientation_format_or_unit_than_their_scan(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, -3, 9], [0, 0, 0, 1]])
    stored = np.random.default_rng(0).random((7, 8, 9)).astype(np.float32)
    mask = nib.Nifti1Image((stored > 0.8).astype(np.uint8), affine)
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / "p.nii.gz")
    source = read_volume(tmp_path / "p.nii.gz")
    expected = source.values > 0.8
    nib.save(nib.as_closest_canonical(mask), tmp_path / "ras_mask.nii.gz")
    nib.save(nib.MGHImage(mask.get_fdata().astype(np.uint8), affine), tmp_path / "p_mask.mgz")
    nib.save(mask, tmp_path / "plain_mask.nii")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "plain_mask.nii")), str(tmp_path / "p_mask.nrrd"))
    metres = nib.Nifti1Image(np.asarray(mask.dataobj), np.diag([1e-3, 1e-3, 1e-3, 1]) @ affine)
    metres.header.set_xyzt_units("meter")
    nib.save(metres, tmp_path / "metre_mask.nii.gz")
    for name in ("ras_mask.nii.gz", "p_mask.mgz", "plain_mask.nii", "p_mask.nrrd", "metre_mask.nii.gz"):
        np.testing.assert_array_equal(read_truth(tmp_path / name, source), expected, err_msg=name)
    moved = affine.copy()
    moved[0, 3] += 1
    nib.save(nib.MGHImage(mask.get_fdata().astype(np.uint8), moved), tmp_path / "moved.mgz")
    with pytest.raises(ScanReadError, match="another grid"):
        read_truth(tmp_path / "moved.mgz", source)


def test_a_frame_of_4d_scans_and_masks_of_several_pages(tmp_path):
    frames = np.random.default_rng(0).random((7, 8, 9, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(frames, np.eye(4)), tmp_path / "p.nii.gz")
    nib.save(nib.Nifti1Image((frames[..., 2] > 0.8).astype(np.uint8), np.eye(4)), tmp_path / "p_mask.nii.gz")

    def auroc_of(**settings):
        dataset = find_dataset(tmp_path)
        return evaluate_dataset(dataset, lambda v: v.values, EvaluationSettings(**settings)).values[
            "pixel_auroc"
        ]

    assert auroc_of(frame=2) == 1.0
    assert auroc_of(frame=1) < 0.7
    with pytest.raises(DinoadError, match="--frame"):
        auroc_of()
    pages = [Image.fromarray((frames[..., i, 0] * 255).astype(np.uint8)) for i in range(3)]
    marked = [Image.fromarray((frames[..., i, 0] > 0.8).astype(np.uint8) * 255) for i in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    marked[0].save(tmp_path / "stack_mask.tif", save_all=True, append_images=marked[1:])
    truth = read_truth(tmp_path / "stack_mask.tif", read_volume(tmp_path / "stack.tif"))
    np.testing.assert_array_equal(truth, np.moveaxis(frames[..., :3, 0], 2, 0) > 0.8)


def test_a_frame_leaves_3d_scans_as_they_are(tmp_path):
    frames = np.random.default_rng(0).random((7, 8, 9, 3)).astype(np.float32)
    for name, stored in (("series", frames), ("plain", frames[..., 0])):
        nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / f"{name}.nii.gz")
    for name, frame in (("series", 2), ("plain", 0)):
        mask = (frames[..., frame] > 0.8).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / f"{name}_mask.nii.gz")
    figures = evaluate_dataset(find_dataset(tmp_path), lambda v: v.values, EvaluationSettings(frame=2))
    assert not figures.failed
    assert figures.values["n_test"] == 2
    assert figures.values["pixel_auroc"] == 1.0


def test_settings_are_checked():
    for wrong in (
        {"protocol": "best"},
        {"aupro_limit": 0},
        {"top_fraction": 2},
        {"frame": -1},
        {"false_positive_rates": (0,)},
    ):
        with pytest.raises(SettingError, match="expected"):
            EvaluationSettings(**wrong)


def test_without_masks_there_are_figures_of_whole_images(benchmark):
    for path in benchmark.glob("*/*/label/*.png"):
        path.unlink()
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    values = figures.values
    assert not figures.failed
    assert (values["truth"], values["n_test"], values["n_test_abnormal"]) == ("folders", 5, 3)
    maxima = [np.asarray(Image.open(path)).max() for path in sorted(benchmark.glob("test/*/img/*.png"))]
    is_abnormal = [path.parts[-3] == "Ungood" for path in sorted(benchmark.glob("test/*/img/*.png"))]
    assert values["image_auroc_max"] == roc_auc_score(is_abnormal, maxima)
    assert values["image_auroc_top"] == 1.0
    of_pixels = ("abnormal_share", "pixel_auroc", "pixel_aupr", "aupro", "best_dice", "best_dice_threshold")
    assert {values[name] for name in of_pixels} == {None}
    at = values["dice_at_fpr"]["0.1"]
    assert at["dice"] is None
    assert 0 < at["test_fpr"] < 1
    # Of normal images alone: what is abnormal in the others is not known.
    assert values["n_pixels"] == 2 * SHAPE[0] * SHAPE[1]
    of_scans = [(scan["is_abnormal"], scan["n_pixels"], scan["n_abnormal_pixels"]) for scan in figures.scans]
    assert set(of_scans) == {(True, None, None), (False, SHAPE[0] * SHAPE[1], 0)}


def test_validation_scans_that_count_as_normal_without_a_mask_are_told(benchmark):
    """Their folder says no class; thresholds come from them."""
    found = find_dataset(benchmark)
    n_before = len(evaluate_dataset(found, brightness, EvaluationSettings()).notes)
    image = next(scan.path for scan in found.validation)
    (benchmark / "valid" / image.name).write_bytes(image.read_bytes())
    notes = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings()).notes
    assert len(notes) == n_before + 1
    (note,) = [note for path, note in notes if path == benchmark / "valid" / image.name]
    assert note.endswith("counted as normal.")


def test_masks_that_contradict_their_folder_are_told(benchmark):
    normal, abnormal = benchmark / "test/good/label/0.png", benchmark / "test/Ungood/label/3.png"
    normal_pixels, abnormal_pixels = normal.read_bytes(), abnormal.read_bytes()
    normal.write_bytes(abnormal_pixels)
    abnormal.write_bytes(normal_pixels)
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    told = {path.stem: note for path, note in figures.notes}
    assert told["3"].startswith("Abnormal by its folder, with nothing marked")
    assert told["0"].startswith("Normal by its folder, with something marked")
    assert set(told) == {"0", "3"}
    assert figures.values["n_test_abnormal"] == 3


@pytest.mark.parametrize("split", ["validation", "test"])
def test_work_grows_as_the_number_of_scans(tmp_path, monkeypatch, split):
    path = tmp_path / "scan.png"
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path)
    scan = LabelledScan(path, None, False)
    rng = np.random.default_rng(0)
    numbers = added_keys(monkeypatch)
    work = []
    for n in (64, 128):
        del numbers[:]
        few, many = (scan,), n * (scan,)
        parts = (many, few) if split == "validation" else (few, many)
        evaluate_dataset(
            EvaluationSet("folder", *parts),
            lambda volume: 10 ** rng.uniform(-3, 1, volume.values.shape).astype(np.float32),
            EvaluationSettings(),
        )
        work.append(sum(numbers))
    assert work[1] < 2.5 * work[0]  # sums that hold all before: 4 times


def test_the_next_scan_is_read_while_one_is_scored(benchmark, monkeypatch):
    dataset = find_dataset(benchmark)
    # The first one of a split is read when its turn comes.
    waited_for = [*dataset.validation[1:], None, *dataset.test[1:], None]
    is_read = {scan.path: threading.Event() for scan in (*dataset.validation, *dataset.test)}
    missed, real = [], ScanFile.read

    def reading(scan, *args):
        is_read[scan.path].set()
        return real(scan, *args)

    def scored(volume):
        following = waited_for.pop(0)
        if following is not None and not is_read[following.path].wait(PATIENCE_S):
            missed.append(following.path)
        return brightness(volume)

    monkeypatch.setattr(ScanFile, "read", reading)
    assert not evaluate_dataset(dataset, scored, EvaluationSettings()).failed
    assert waited_for == missed == []


def test_large_scans_are_read_when_their_turn_comes(benchmark, monkeypatch):
    figures = evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings())
    threads, real = set(), ScanFile.read

    def reading(scan, *args):
        threads.add(threading.current_thread())
        return real(scan, *args)

    monkeypatch.setattr(ScanFile, "read", reading)
    monkeypatch.setattr(scans_ahead, "MOST_VOXELS", 0)
    assert evaluate_dataset(find_dataset(benchmark), brightness, EvaluationSettings()) == figures
    assert threads == {threading.current_thread()}
