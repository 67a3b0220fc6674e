"""The report for people: what it says, what it shows, and that it stands alone."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from napari_dinoad.calibration import NormalPeaks
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap, Findings
from napari_dinoad.maps.pages import report as report_page_module
from napari_dinoad.maps.pages.report import MAX_LISTED, report_page, save_report_page
from napari_dinoad.maps.pictures import slice_choice
from napari_dinoad.maps.pictures.slice_choice import heat_loads, marked_loads, most_abnormal_slices
from napari_dinoad.maps.pictures.slice_view import SliceView
from napari_dinoad.settings import FALSE_POSITIVE_RATES, HEATMAP_LIMITS

CARD = {
    "scorer": "dpmm",
    "backbone": {"name": "embedded", "weights_sha256": "ab" * 32},
    "preprocessing": {"preset": "ct-head", "plane": "axial", "intensity": "window", "window": [0.0, 80.0]},
    "calibration": {"method": "cross", "n_scans": 39, "n_voxels": 123456, "resolved_neg_log10_p": 4.5},
    "n_scans": 39,
    "n_slices": 400,
    "created": "2026-01-02T03:04:05+00:00",
    "versions": {"napari-dinoad": "0.1.0"},
}


def head(affine=None):
    """A bright ellipsoid, 40 × 48 × 30 voxels of 4 × 4 × 5 mm."""
    affine = np.diag([4.0, 4.0, 5.0, 1.0]) if affine is None else affine
    geometry = Geometry((40, 48, 30), affine)
    axes = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in geometry.canonical_shape], indexing="ij")
    inside = sum(a**2 for a in axes) < 1
    return Volume(
        np.where(inside, 60, 0).astype(np.float32), geometry, "scan", notes=("Resampled <knowingly>.",)
    )


def findings_of(volume, *spots, fpr=0.01, **more):
    values = np.where(volume.values > 0, np.float32(0.1), np.float32(0))
    for where, height in spots:
        values[where] = height
    mask = AnomalyMap(values, volume).mask(fpr)
    return Findings(mask, "scan.nii.gz", 0.05, 39, 38, {"total": 1.0}, CARD, **more)


RIGHT = (slice(14, 17), slice(22, 26), slice(28, 31))
LEFT = (slice(10, 13), slice(30, 33), slice(9, 12))
MIDDLE = (slice(20, 22), slice(20, 23), slice(19, 21))


class Reader(HTMLParser):
    """Collects text, table rows and pictures."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.rows, self.images, self._row = [], [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "img":
            kind, data = attrs["src"].split(";base64,")
            assert kind in ("data:image/png", "data:image/jpeg")
            self.images.append(Image.open(io.BytesIO(base64.b64decode(data))))

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_regions_have_their_sides_sizes_and_places():
    page = report_page(findings_of(head(), (RIGHT, 3.9), ((14, 22, 28), 4.0), (LEFT, 3.0), (MIDDLE, 2.5)))
    rows = {row[0]: row for row in Reader(page).rows if row and row[0] in "123"}
    assert [rows[label][3] for label in "123"] == ["right", "left", "midline"]
    assert rows["1"][1] == "2.9 cm³"
    assert rows["1"][2] == "12 × 16 × 15"
    assert rows["1"][4] == "4.0"
    assert rows["1"][5] == "one in 10,000 normal voxels"
    assert rows["1"][6] == "R 112, A 88, S 70"
    assert "More unusual than 38 of 39 normal scans (p = 0.05)." in page


def test_each_region_is_compared_with_the_highest_voxels_of_normal_scans():
    spots = ((RIGHT, 3.9), ((14, 22, 28), 4.0), (LEFT, 3.0))
    peaks = NormalPeaks(np.array([3.2, 2.0, 3.0], np.float32), np.ones(3))
    page = report_page(findings_of(head(), *spots, normal_peaks=peaks))
    header, *_ = (row for row in Reader(page).rows if row and row[0] == "Region")
    rows = {row[0]: row for row in Reader(page).rows if row and row[0] in "12"}
    column = header.index("Normal scans that reach it")
    assert [rows[label][column] for label in "12"] == ["0 of 3", "2 of 3"]
    assert rows["1"][column + 1] == "R 112, A 88, S 70"
    assert "1 beyond all 3 normal scans: no voxel of theirs is as unusual as its peak. " in page
    assert "One in 4 new normal scans has such a region by chance." in page
    page = report_page(findings_of(head(), *spots))
    assert "Normal scans that reach it" not in page and "beyond all" not in page


@pytest.mark.parametrize("signs", [(-1, 1, 1), (-1, -1, 1), (1, 1, -1)])
def test_sides_are_the_patients_however_the_scan_is_stored(signs):
    affine = np.diag([*(np.array(signs) * (4.0, 4.0, 5.0)), 1.0])
    affine[:3, 3] = (500, 0, 0)  # far from the scanner's middle: only the body itself tells the sides
    page = report_page(findings_of(head(affine), (RIGHT, 4.0), (LEFT, 3.0)))
    rows = {row[0]: row for row in Reader(page).rows if row and row[0] in "12"}
    assert (rows["1"][3], rows["2"][3]) == ("right", "left")


def test_the_middle_of_a_large_scan_is_that_of_its_body(monkeypatch):
    """It is found on every third voxel here; what is as far to the right as to the left has the same side."""
    monkeypatch.setattr("napari_dinoad.maps.pages.page_parts._SIDE_VOXELS", 1000)
    grey = np.random.default_rng(0).random((34, 34, 34), np.float32)
    volume = Volume(grey, Geometry((34, 34, 34), np.eye(4)))
    spots = [((z, 5, slice(first, first + 2)), 3.0) for z, first in ((5, 15), (20, 17))]
    assert report_page(findings_of(volume, *spots)).count(">midline<") == 2


def test_all_three_planes_are_shown_with_heatmap_and_outline():
    page = report_page(findings_of(head(), (RIGHT, 5.0)))
    pictures = [image for image in Reader(page).images if image.height > 100]
    assert len(pictures) == 6, "two slices a plane"
    for name in ("Axial, S 70.0 mm, slice 15 of 30", "Coronal", "Sagittal"):
        assert name in page
    for image in pictures:
        pixels = np.asarray(image.convert("RGB")).astype(int)
        plain, overlay = pixels[:, :300], pixels[:, 304:]
        warm = overlay[..., 0] - overlay[..., 2] > 100
        assert warm.sum() > 50
        assert ((overlay[..., 2] - overlay[..., 0]) > 100).any(), "the outline is cyan"
        assert not (plain[..., 2] - plain[..., 0] > 60).any()


def test_slices_are_those_with_most_above_the_rate():
    """Not those with most voxels just above it."""
    strong, next_to_it = ((8, 20, slice(20, 22)), 6.0), ((12, 20, slice(20, 22)), 5.0)
    large = ((20, slice(20, 25), slice(15, 20)), 2.1)
    page = report_page(findings_of(head(), strong, next_to_it, large))
    assert set(re.findall(r"slice (\d+) of 30", page)) == {"9", "13"}


def test_where_nothing_is_marked_slices_with_most_heat_are_shown():
    page = report_page(findings_of(head(), ((20, slice(20, 25), slice(15, 20)), 1.9)))
    assert set(re.findall(r"slice (\d+) of 30", page)) == {"21"}


@pytest.mark.parametrize(
    ("geometry", "heights"),
    [
        (Geometry.of_pixels((6, 40, 50)), [300, 300]),
        (Geometry.of_pixels((40, 50)), [560]),
        (Geometry((50, 40), np.diag([2.0, 2.0, 5.0, 1.0])), [560]),
    ],
    ids=["images", "image", "slice"],
)
def test_images_are_shown_in_their_own_plane(geometry, heights):
    values = np.random.default_rng(0).random(geometry.canonical_shape, np.float32)
    spots = [((z, slice(3, 6), slice(10, 14)), 3.0) for z in range(0, geometry.canonical_shape[0], 5)]
    page = report_page(findings_of(Volume(values, geometry), *spots))
    assert [image.height for image in Reader(page).images if image.height > 100] == heights


def test_how_the_model_looked_at_its_scans_is_told():
    findings = findings_of(head(), (RIGHT, 3.0))
    assert "preset ct-head, axial slices, window 0 to 80 HU<" in report_page(findings)
    preprocessing = CARD["preprocessing"] | {"intensity": "percentile", "resolution_px": 448}
    page = report_page(replace(findings, card=CARD | {"preprocessing": preprocessing}))
    assert "preset ct-head, axial slices, 448 px<" in page


def test_the_page_stands_alone(tmp_path):
    path = save_report_page(tmp_path / "p_report.html", findings_of(head(), (RIGHT, 5.0)))
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|<link|url\(|@import", page)
    assert {"script", "link", "iframe", "object"}.isdisjoint(Reader(page).tags)
    assert "Research use only" in page
    assert "Resampled &lt;knowingly&gt;." in page
    for image in Reader(page).images:
        assert not image.getexif() and not image.info.keys() - {
            "jfif",
            "jfif_version",
            "jfif_unit",
            "jfif_density",
        }


def test_thresholds_say_what_a_normal_scan_would_have():
    volume = head()
    page = report_page(findings_of(volume, (RIGHT, 4.0), fpr=0.02))
    rows = {row[0]: row for row in Reader(page).rows if row and row[0].endswith(("%", "% (mask)"))}
    assert list(rows) == ["10 %", "5 %", "2 % (mask)", "1 %", "0.1 %"]
    scored = np.count_nonzero(volume.values) * volume.geometry.voxel_volume
    assert rows["1 %"][3] == f"{0.01 * scored / 1000:.1f} cm³"
    assert rows["0.1 %"][2] == "2.9 cm³"


def test_regions_left_out_are_told():
    findings = findings_of(head(), (RIGHT, 4.0), (LEFT, 3.0))
    assert "left out" not in report_page(findings)
    page = report_page(findings.only({1}))
    assert "hold 2.9 cm³ of it; the others were left out" in page
    assert "1 region, 2.9 cm³ in all" in page


def test_a_rarity_is_no_rarer_than_normal_voxels_vouch_for():
    page = report_page(findings_of(head(), (RIGHT, 9.0)))
    assert "rarer than one in 32,000 normal voxels" in page


def test_many_regions_are_listed_in_part():
    spots = [((2 * i // 20 * 2 + 8, 2 * i % 20 + 14, 20), 3.0) for i in range(MAX_LISTED + 4)]
    page = report_page(findings_of(head(), *spots))
    assert "4 further regions" in page


def test_nothing_found_and_nothing_compared():
    volume = head()
    values = np.where(volume.values > 0, np.float32(0.1), np.float32(0))
    page = report_page(Findings(AnomalyMap(values, volume).mask(0.01), "scan"))
    assert "No region at a rate of 1 % of normal voxels." in page
    assert "no statement about the whole scan" in page
    assert len([image for image in Reader(page).images if image.height > 100]) >= 3


def test_what_is_not_marked_is_not_called_normal():
    """A page that marks nothing read as a clean bill, also by the built-in backbone, which finds least."""
    page = report_page(findings_of(head()))
    assert "What is not marked need not be normal: a lesion can be missed; this" in page
    assert "embedded, which hardly finds dark or smooth ones" in page
    dino = CARD | {"backbone": {"name": "dinov2_vits14", "weights_sha256": "ab" * 32}}
    for card in (dino, None):
        page = report_page(replace(findings_of(head()), card=card))
        assert "a lesion can be missed." in page and "hardly finds" not in page


def test_pixels_have_no_millimetres():
    volume = Volume(np.random.default_rng(0).random((1, 40, 50), np.float32), Geometry.of_pixels((40, 50)))
    page = report_page(findings_of(volume, ((0, slice(3, 6), slice(10, 14)), 3.0), ((0, 3, 10), 3.1)))
    assert "12 px" in page
    assert " mm" not in page
    assert "column 10, row 3" in page


def test_of_several_images_the_one_with_the_peak_is_told():
    volume = Volume(np.random.default_rng(0).random((6, 40, 50), np.float32), Geometry.of_pixels((6, 40, 50)))
    page = report_page(findings_of(volume, ((4, slice(3, 6), slice(10, 14)), 3.0), ((4, 3, 10), 3.1)))
    assert ">image 5, column 10, row 3<" in page


def test_voxels_of_micrometres_have_sizes_and_places():
    """OCT in millimetres: regions of 0 mm³, 0 × 0 × 0 mm were listed, at 0, 0, 0."""
    affine = np.diag([0.005, 0.004, 0.02, 1.0])
    volume = Volume(np.random.default_rng(0).random((5, 100, 80), np.float32), Geometry((80, 100, 5), affine))
    page = report_page(
        findings_of(volume, ((2, slice(30, 50), slice(40, 50)), 3.0), ((2, 35, 45), 3.5), ((0, 1, 1), 4.0))
    )
    rows = {row[0]: row for row in Reader(page).rows if row and row[0] in "12"}
    assert (rows["2"][1], rows["2"][2]) == ("8e-05 mm³", "0.05 × 0.08 × 0.02")
    assert ">R 0.23, A 0.14, S 0.04<" in page and ">R 0.005, A 0.004, S 0.000<" in page


def test_an_oblique_scan_says_so():
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * (4, 4, 5)
    assert "turned by up to 16.3°" in report_page(findings_of(head(affine), (RIGHT, 4.0)))


def test_views_keep_proportions_and_orientation():
    volume = head()
    marked = np.zeros(volume.values.shape, np.float32)
    marked[RIGHT] = 1
    axial, coronal, sagittal = (SliceView.of(AnomalyMap(marked, volume), axis) for axis in range(3))
    assert [view.name for view in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    shown = axial.show(marked, 15, 200, smooth=False)
    assert np.nonzero(shown)[1].mean() < 100, "the patient's right is on the left"
    height, width = (np.ptp(np.nonzero(shown)[a]) + 1 for a in (0, 1))
    assert height / width == pytest.approx(16 / 12, rel=0.1)
    superior = np.zeros_like(marked)
    superior[25, 24, 20] = 1
    assert np.nonzero(coronal.show(superior, 24, 200, smooth=False))[0].mean() < 100
    anterior = np.zeros_like(marked)
    anterior[15, 40, 20] = 1
    assert np.nonzero(sagittal.show(anterior, 20, 200, smooth=False))[1].mean() < 100


def test_slices_are_chosen_by_load_and_lie_apart():
    sums = np.zeros(40)
    sums[10], sums[11], sums[30] = 3, 2.9, 1
    assert most_abnormal_slices(sums, 2) == [30, 10]
    assert most_abnormal_slices(sums, 1) == [10]
    assert most_abnormal_slices(sums * 0, 2) == [0]
    of_first = np.zeros(40)
    of_first[30] = of_first[31] = 1
    assert most_abnormal_slices(sums, 1, of_first) == [30]
    of_first[11] = 0.2
    assert most_abnormal_slices(sums, 1, of_first) == [30], (
        "not the slice with most load, but with most in there"
    )
    of_first[11] = 2.9
    assert most_abnormal_slices(sums, 2, of_first) == [30, 11]


def test_the_most_unusual_region_is_shown_in_every_plane():
    """However small it is: larger ones with lower peaks had all the pictures. Where most of it is, not at its tip."""
    tip, rest = (slice(20, 21), slice(24, 25), slice(20, 21)), (slice(21, 24), slice(24, 27), slice(20, 23))
    large = [(slice(z, z + 3), slice(10, 40), slice(5, 35)) for z in (5, 12)]
    page = report_page(findings_of(head(), (rest, 4.0), (tip, 6.0), *((place, 2.5) for place in large)))
    shown = re.findall(r"<figcaption>(Axial|Coronal|Sagittal), [^<]* slice (\d+) of", page)
    assert len(shown) == 6
    for plane, slices in (("Axial", "22 23 24"), ("Coronal", "25 26 27"), ("Sagittal", "21 22 23")):
        assert {number for name, number in shown if name == plane} & set(slices.split()), plane


def test_sizes_are_told_to_be_those_of_the_mask():
    page = report_page(findings_of(head(), (RIGHT, 5.0)))
    assert "Sizes are those of what is marked at this rate" in page.split("Notes")[1]


def test_rates_are_percentages_with_two_digits():
    page = report_page(findings_of(head(), (RIGHT, 5.0), fpr=10**-2.5))
    assert "p = 5 %" in page and "0.001 %" in page and "mask at 0.32 % of normal voxels" in page
    assert [row[0] for row in Reader(page).rows if "(mask)" in row[0]] == ["0.32 % (mask)"]


@pytest.mark.parametrize("at_once", [1, 70, 10_000])
def test_loads_are_those_of_all_slices_of_each_axis(monkeypatch, at_once):
    monkeypatch.setattr(slice_choice, "_VOXELS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    values = rng.gamma(1, 2, (9, 5, 7)).astype(np.float32)
    labels = (rng.random(values.shape) < 0.2).astype(np.int32) * 3
    heat, marked = np.maximum(values - HEATMAP_LIMITS[0], 0), np.where(labels, values - 0.5, 0)
    labels[2] *= 2
    second = np.where(labels == 6, values - 0.5, 0)
    for sums, load in (
        (heat_loads(values), heat),
        (marked_loads(values, labels, 0.5), marked),
        (marked_loads(values, labels, 0.5, 6), second),
    ):
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
            np.testing.assert_allclose(sums[axis], load.sum(axis=others), rtol=1e-5)


@pytest.mark.parametrize(("last", "warns"), [(19, True), (8, False)])
def test_a_scan_that_is_unusual_nearly_everywhere_is_told_at_the_top(last, warns):
    """Of another contrast or preparation it was listed as the least normal, with one region as large as the brain."""
    volume = head()
    values = np.where(volume.values > 0, np.float32(0.1), np.float32(0))
    values[:last][values[:last] > 0] = 3
    findings = Findings(AnomalyMap(values, volume).mask(0.01), "scan.nii.gz", 0.05, 39, 39, None, CARD)
    said = "probably of another kind than the normal scans"
    assert [said in note for note in findings.all_notes()].count(True) == warns
    assert not warns or "score it with a model that was fitted on scans of its kind" in findings.suspicion()
    page = report_page(findings)
    assert page.count(said) == warns
    assert not warns or page.index(said) < page.index("Most abnormal slices")


def test_how_much_is_unusual_is_counted_once_for_all_that_is_written(monkeypatch):
    findings = findings_of(head(), (RIGHT, 5.0), fpr=10**-2.5)
    counted, count = [], np.count_nonzero

    def counting(values, *args, **kwargs):
        if np.shape(values) == findings.volume.values.shape:
            counted.append(values)
        return count(values, *args, **kwargs)

    # To tell sides, voxels of the scan are counted.
    monkeypatch.setattr(report_page_module, "_sides", lambda _: {})
    monkeypatch.setattr(np, "count_nonzero", counting)
    report_page(findings)
    for told in (findings, findings.only({1}), replace(findings, notes=("Another.",))):
        told.to_dict()
    n_rates = len({*FALSE_POSITIVE_RATES, 0.01, findings.mask.fpr})
    assert len(counted) == n_rates + len(["scored", "marked by the mask"])


def test_of_a_part_of_a_scan_it_is_told_what_was_scored():
    volume = head()
    values = np.zeros(volume.values.shape, np.float32)
    values[15] = np.where(volume.values[15] > 0, 3, 0)
    findings = Findings(AnomalyMap(values, volume).mask(0.01), "scan.nii.gz")
    assert "100 % of what was scored of this scan is beyond" in findings.all_notes()[0]
