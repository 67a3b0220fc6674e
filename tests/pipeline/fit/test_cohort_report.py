"""The report of a cohort: what stands out is named, texts are safe, and the model holds no name."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest

from napari_dinoad.fit_estimate import estimate_fit
from napari_dinoad.images.discovery import Discovery, discover_scans
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.normative_model.fit_report import FitReport, NormalScan
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.pipeline.cohort.order import shares_at_least, unusualness
from napari_dinoad.pipeline.cohort.outliers import OUTLYING_Z, find_outliers, grid_unlikeness
from napari_dinoad.pipeline.fit import cohort_report
from napari_dinoad.pipeline.fit.cohort_report import few_scans_note, fit_notes, what_stands_out
from napari_dinoad.settings import CacheSettings, CalibrationSettings, FitSettings, MemoryBankSettings, preset
from small_heads import add_bad_scans, make_head, save_head

SMALL = FitSettings(
    scorer="memory-bank",
    memory_bank=MemoryBankSettings(n_patches=50),
    preprocessing=replace(preset("mr-brain"), resolution_px=64),
)


def facts_of(rng, **changes):
    usual = {
        "shape": [20, 200, 180],
        "spacing": [5.0, 1.0, 1.0],
        "is_physical": True,
        "n_slices": 18,
        "body_fraction": 0.4 + rng.normal(0, 0.01),
        "body_size": [90.0 + rng.normal(0, 3), 180 + rng.normal(0, 5), 150 + rng.normal(0, 5)],
        "intensity": [10.0, 300 + rng.normal(0, 8), 500 + rng.normal(0, 8), 620 + rng.normal(0, 8), 900.0],
        "white": None,
    }
    return usual | changes


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    return [facts_of(rng) for _ in range(40)]


def test_a_usual_cohort_has_no_outlier(cohort):
    assert find_outliers(cohort) == ()


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"spacing": [5.0, 1.0, 2.0]}, "voxel size, side to side (mm)"),
        ({"shape": [40, 200, 180]}, "voxels, top to bottom"),
        ({"body_size": [90.0, 400.0, 150.0]}, "body size, front to back (mm)"),
        ({"intensity": [10.0, 600.0, 700.0, 800.0, 900.0]}, "contrast: lower quartile"),
    ],
)
def test_what_is_unlike_the_others_is_named(cohort, changes, figure):
    cohort[7] |= changes
    found = [outlier for outlier in find_outliers(cohort) if outlier.figure == figure]
    assert [outlier.scan for outlier in found] == [7]
    assert abs(found[0].z) > OUTLYING_Z


def test_scans_with_and_without_physical_size_are_not_compared(cohort):
    pixels = facts_of(np.random.default_rng(1), is_physical=False, shape=[1, 9, 9], spacing=[1.0, 1.0, 1.0])
    found = find_outliers([*cohort, pixels])
    assert not any("mm" in outlier.figure for outlier in found if outlier.scan == 40)


def test_pictures_of_other_bits_are_no_outliers(cohort):
    """An X-ray of 16 bits among those of 8 was called brighter than they are."""
    rng = np.random.default_rng(1)
    pictures = [
        facts_of(rng, is_physical=False, shape=[1, 9, 9], spacing=[1.0] * 3, white=2.0**bits - 1)
        | {"intensity": [level * (2**bits - 1) for level in (0.1, 0.3, 0.5, 0.6, 0.9)]}
        for bits in (8, 8, 8, 8, 8, 8, 8, 12, 16)
    ]
    assert not any("brightest" in outlier.figure for outlier in find_outliers(pictures))
    pictures[3]["intensity"][-1] = 60.0
    (dark,) = (outlier for outlier in find_outliers(pictures) if "brightest" in outlier.figure)
    assert (dark.scan, dark.figure) == (3, "brightest tissue (99th percentile, share of white)")


def test_few_scans_cannot_be_outliers():
    rng = np.random.default_rng(0)
    assert find_outliers([facts_of(rng) for _ in range(3)] + [facts_of(rng, body_fraction=0.9)]) == ()


@pytest.mark.parametrize("changes", [{"spacing": [5.0, 1.0, 2.0]}, {"shape": [40, 200, 180]}])
def test_another_grid_is_unlike_the_others_and_its_contents_do_not_count(cohort, changes):
    cohort[7] |= changes
    cohort[9] |= {"intensity": [10.0, 600.0, 700.0, 800.0, 900.0], "body_size": [90.0, 400.0, 150.0]}
    unlike = grid_unlikeness(cohort)
    assert unlike[7] > OUTLYING_Z
    assert not np.delete(unlike, 7).any()


def test_the_grid_of_few_or_unknown_scans_is_not_compared(cohort):
    assert grid_unlikeness([cohort[0], cohort[1] | {"shape": [40, 200, 180]}]).tolist() == [0, 0]
    assert grid_unlikeness([{}, *cohort])[0] == 0


def test_what_is_unusual_by_any_figure_comes_before_the_usual():
    rng = np.random.default_rng(0)
    scores = rng.normal(10, 1, 30)
    whole, grid = rng.normal(0, 1, 30), np.zeros(30)
    scores[3], whole[7] = 80.0, 50.0
    scores[19], whole[19], grid[19] = 15.0, 6.0, 5.0
    unusual = unusualness(scores.tolist(), whole, grid)
    assert set(np.argsort(unusual)[-3:]) == {3, 7, 19}
    assert unusual.argmax() == 19, "three moderate figures are more than one that is far out"
    assert np.abs(unusual).max() <= 45
    grid[11] = 90.0
    assert unusualness(scores.tolist(), whole, grid)[11] == pytest.approx(unusual[11] + 5)


def test_scans_without_a_score_are_usual_by_patches():
    whole = np.arange(6.0)
    without = unusualness([None] * 6, whole, np.zeros(6))
    assert np.array_equal(np.argsort(without), np.arange(6))
    some = unusualness([1.0, None, 2.0, 900.0, float("-inf"), 1.5], whole, np.zeros(6))
    assert some.argmax() == 3
    assert some[1] == without[1]
    assert some[4] == without[4]
    assert not unusualness([1.0, 1.0], np.zeros(2), np.zeros(2)).any()


def test_the_report_orders_scans():
    scans = tuple(NormalScan(Path(f"{figure:g}"), 1, unusual=figure) for figure in (0.5, 4.0, -1.0, 4.0))
    report = FitReport(scans, (), {}, {})
    assert [scan.unusual for scan in report.most_abnormal(3)] == [4.0, 4.0, 0.5]


def test_what_stands_out_is_told_in_words(cohort):
    cohort[7] |= {"spacing": [5.0, 1.0, 2.0]}
    scans = [
        NormalScan(
            Path(f"{i}.nii"), 1, p_value=(i + 1) / 40, unlike_share=1 - i / 40, grid_share=1.0, facts=facts
        )
        for i, facts in enumerate(cohort)
    ]
    words = what_stands_out(FitReport(tuple(scans), (), {}, {}))
    assert [words[f"{i}.nii"] for i in (0, 3, 4, 7)] == [
        "unusual spots",
        "unusual spots",
        "",
        "voxel size, side to side (mm)",
    ]
    assert words["39.nii"] == "unlike the others as a whole"
    # Of few scans the most unusual one stands out.
    few = tuple(replace(scan, p_value=(i + 1) / 3, unlike_share=1.0) for i, scan in enumerate(scans[:3]))
    assert list(what_stands_out(FitReport(few, (), {}, {})).values()) == ["unusual spots", "", ""]


def test_it_is_told_that_scans_with_slices_farther_apart_are_not_behind_the_probabilities(tmp_path, caplog):
    """The window said “5 normal scans, 3 to compare with”, and nothing why, nor that probabilities rest on three."""
    for seed in range(5):
        affine = np.diag([5.0, 5.0, 2.0 if seed < 3 else 4.0, 1.0])
        nib.save(nib.Nifti1Image(make_head(seed), affine), tmp_path / f"head{seed}.nii.gz")
    out = tmp_path / "m.dinoad"
    with caplog.at_level("WARNING"):
        model = fit_folder(tmp_path, SMALL, out=out)
    assert model.calibration.n_scans == 3
    few, note = fit_notes(model, model.fit_report)
    assert "compared with only 3 of the 5 normal persons: no scan-level p-value below 0.25" in few
    assert note.startswith(
        "Only 3 of 5 held-out normal scans are behind the probabilities of volumes: the slices"
    )
    assert note in [record.getMessage() for record in caplog.records]
    assert note in out.with_name("m.report.html").read_text(encoding="utf-8")
    model = fit_folder(tmp_path, replace(SMALL, calibration=CalibrationSettings(smoothing_mm=0)))
    assert model.calibration.n_scans == 5
    assert fit_notes(model, model.fit_report) == []


def test_scans_of_one_name_are_told_apart():
    """DICOM folders are mostly called the same for each patient, or hold several series."""

    def named(*places):
        return FitReport(tuple(NormalScan(Path(path), 1, name=name) for path, name in places), (), {}, {})

    places = (("/c/p1/t1", "t1"), ("/c/p2/t1", "t1_series3"), ("/c/p2/t1", "t1_series4"))
    told = tuple(str(Path(path)) for path in ("p1/t1", "p2/t1"))
    report = named(*places)
    assert report.names == (told[0], f"{told[1]} (t1_series3)", f"{told[1]} (t1_series4)")
    assert [report.name_of(scan) for scan in report.scans] == [*report.names]
    assert named(("/c/a.nii", "a"), ("/c/b.nii", "b")).names == ("a.nii", "b.nii")


def test_names_are_made_once(monkeypatch):
    """Of all scans at a time, so that naming each of a thousand made a million."""
    calls = []

    def short_paths(paths):
        calls.append(len(paths))
        return [path.name for path in paths]

    monkeypatch.setattr("napari_dinoad.normative_model.fit_report.short_paths", short_paths)
    report = FitReport(tuple(NormalScan(Path(f"/c/{i}"), 1) for i in range(30)), (), {}, {})
    assert [report.name_of(scan) for scan in report.scans] == [str(i) for i in range(30)]
    assert calls == [30]


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_shares_are_counted(n):
    """With ties, values that are not finite, and by the definition to the last bit."""
    values = np.random.default_rng(n).integers(0, max(n // 3, 1), n).astype(float)
    values[2::7], values[5::11] = np.nan, np.inf
    expected = [float(np.mean(values >= value)) for value in values]
    assert shares_at_least(values).tolist() == expected


def test_few_scans_are_told_what_that_means():
    assert "below 0.33" in few_scans_note(2, 2, 2)
    assert few_scans_note(5, 5, 5) == ""
    few = few_scans_note(8, 8, 2)
    assert few.startswith("A patient's scan as a whole is compared with only 2 of the 8 normal persons: ")
    assert "below 0.33" in few


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for seed in range(5):
        save_head(folder / f"<b>head & {seed}.nii.gz", seed)
    add_bad_scans(folder)
    out = tmp_path_factory.mktemp("models") / "m.dinoad"
    settings = replace(SMALL, memory_bank=MemoryBankSettings(n_patches=200))
    return fit_folder(folder, settings, out=out), out


def test_the_plot_of_scan_scores_shows_the_p_that_such_a_scan_would_get(fitted, monkeypatch):
    model, _ = fitted
    scores = np.array([-np.inf, 0.1, 0.2, 0.2, 0.5])
    calibration = replace(model.calibration, scan_scores=scores)
    plotted = {}

    def kept(caption, series, x_label, y_label):
        plotted.update({one.name: (one.x, one.y) for one in series})
        return ""

    monkeypatch.setattr(cohort_report, "plot", kept)
    cohort_report.cohort_report(replace(model, calibration=calibration), model.fit_report, "m")
    x, y = plotted["normal scans"]
    assert x == scores.tolist()
    assert y == pytest.approx([-np.log10(calibration.scan_p_value(score)) for score in scores])


def test_the_report_names_every_file_once_used_or_skipped(fitted):
    model, out = fitted
    text = out.with_name("m.report.html").read_text(encoding="utf-8")
    for seed in range(5):
        assert f"&lt;b&gt;head &amp; {seed}.nii.gz" in text
    for item in model.fit_report.skipped:
        assert item.path.name in text
        assert html.escape(item.reason) in text
    assert "<b>head" not in text
    for title in (
        "Least normal",
        "Files that were not used",
        "Calibration",
        "Inside the model",
        "How the fit went",
    ):
        assert title in text
    body = text[text.index("<body>") : text.index("</html>")]
    ElementTree.fromstring(body)


def test_the_model_holds_none_of_it(fitted):
    _, out = fitted
    assert b"head &" not in out.read_bytes()


def test_the_size_on_disk_is_an_upper_bound(tmp_path, normal_folder):
    fit_folder(normal_folder, SMALL, cache=CacheSettings(str(tmp_path), keep=True))
    taken = sum(path.stat().st_size for path in (tmp_path / "embeddings").iterdir())
    found = discover_scans(normal_folder)
    estimate = estimate_fit(found, "embedded", SMALL.preprocessing, CacheSettings(str(tmp_path)))
    assert estimate.n_scans == 6
    header = 4096 * estimate.n_scans
    assert taken - header < estimate.n_bytes < 4 * taken
    assert estimate.free_bytes > 0


def test_slices_are_counted_along_the_plane():
    scan = ScanFile("x", "volume", (100, 120, 20), (1.0, 1.0, 5.0))
    image = ScanFile("y", "image", (300, 200))
    found = Discovery("f", (scan, image), ())
    assert estimate_fit(found, "dinov2_vits14", preset("oct")).n_slices == 21
    assert estimate_fit(found, "dinov2_vits14", preset("mr-brain")).n_slices == 121
    assert estimate_fit(found, "timm:vit_tiny_patch16_224", preset("oct")).n_bytes is None


def test_slices_of_a_stack_are_its_pictures():
    """The rows of each were counted where these are more."""
    folder = Path("eye")
    stack = ScanFile(folder, "volume", (12, 224, 200), images=tuple(folder / f"{i}.png" for i in range(12)))
    pages = ScanFile(Path("eye.tif"), "volume", (7, 300, 200))
    pixels = ScanFile(Path("eye.nii.gz"), "volume", (300, 200, 7))
    found = Discovery("f", (stack, pages, pixels), ())
    assert estimate_fit(found, "embedded", preset("oct")).n_slices == 12 + 7 + 300


def test_what_was_assumed_is_told_once_and_listed(tmp_path, caplog):
    """Two of three scans have forms that disagree: one line in the log, both in the report."""
    (tmp_path / "normals").mkdir()
    for seed in range(3):
        path = save_head(tmp_path / "normals" / f"head{seed}.nii", seed)
        image = nib.load(path)
        qform = image.affine.copy()
        qform[0, 3] += 20 if seed else 0
        image.set_qform(qform, 1)
        values = np.asanyarray(image.dataobj).copy()  # The file is mapped, and about to be replaced.
        nib.save(nib.Nifti1Image(values, None, image.header), path)
    with caplog.at_level("WARNING"):
        fit_folder(tmp_path / "normals", SMALL, out=tmp_path / "m.dinoad")
    told = [record.getMessage() for record in caplog.records if "sform" in record.getMessage()]
    assert told == [
        "head1.nii: sform and qform disagree by up to 20.0 mm: the sform is used. And 1 more such notes; the cohort "
        "report has them."
    ]
    report = (tmp_path / "m.report.html").read_text(encoding="utf-8")
    assert "sform and qform disagree by up to 20.0 mm: the sform is used." in report
    assert "head1.nii, head2.nii" in report


def test_of_many_files_the_report_says_in_which_folder_they_lie_and_that_it_lists_the_first(
    tmp_path, normal_folder, monkeypatch
):
    folder = tmp_path / "normals"
    for place in ("a/p1", "a/p2", "b/p3"):
        (folder / place).mkdir(parents=True)
        seed = place[-1]
        (folder / place / "t1.nii.gz").write_bytes((normal_folder / f"normal_{seed}.nii.gz").read_bytes())
        (folder / place / "notes.txt").write_text("no scan")
    (folder / "b/p4").mkdir()
    (folder / "b/p4/t1.nii.gz").write_bytes((folder / "a/p1/t1.nii.gz").read_bytes())
    out = tmp_path / "m.dinoad"
    monkeypatch.setattr("napari_dinoad.pipeline.fit.cohort_report._N_SKIPPED", 3)
    monkeypatch.setattr("napari_dinoad.pipeline.fit.cohort_report._N_LISTED", 2)
    report = fit_folder(folder, SMALL, out=out).fit_report
    own = Path("a", "p1", "t1.nii.gz")
    assert (folder / "b/p4/t1.nii.gz", f"the same content as {own}") in [
        (item.path, item.reason) for item in report.skipped
    ]
    assert report.skipped_names() == [
        *(str(Path(place, "notes.txt")) for place in ("a/p1", "a/p2", "b/p3")),
        str(Path("b/p4", "t1.nii.gz")),
    ]
    text = out.with_name("m.report.html").read_text(encoding="utf-8")
    assert "The first 3 of 4 are listed" in text
    assert "All scans used (3), the first 2" in text
    skipped = text[text.index("Files that were not used") :]
    assert all(str(Path(place, "notes.txt")) in skipped for place in ("a/p1", "a/p2", "b/p3"))
