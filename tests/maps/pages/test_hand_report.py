"""The page about a mask by hand: who made it, what it marks and where, and no probability."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from dicom_files import CARD
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps.hand_mask import HandMask
from napari_dinoad.maps.hand_outputs import save_hand_outputs
from napari_dinoad.maps.pages.hand_report import hand_report_page
from napari_dinoad.maps.pages.page_parts import MAX_LISTED

EXPORTED = datetime(2026, 11, 30, 6, 20)


@pytest.fixture
def head():
    """Return a bright ellipsoid, 40 × 48 × 30 voxels of 4 × 4 × 5 mm."""
    geometry = Geometry((40, 48, 30), np.diag([4.0, 4.0, 5.0, 1.0]))
    axes = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in geometry.canonical_shape], indexing="ij")
    values = np.where(sum(a**2 for a in axes) < 1, 60, 0).astype(np.float32)
    return Volume(values, geometry, "scan", notes=("Resampled <knowingly>.",))


def labels_of(volume, *boxes):
    labels = np.zeros(volume.values.shape, int)
    for number, box in boxes:
        labels[box] = number
    return labels


RIGHT = (slice(14, 17), slice(22, 26), slice(28, 31))
LEFT = (slice(10, 13), slice(30, 33), slice(9, 12))


def text_of(page):
    return re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)


def test_it_says_who_made_it_and_when_and_of_which_model_it_was(head):
    labels = labels_of(head, (1, RIGHT), (1, LEFT))
    page = hand_report_page(HandMask(labels, head, "corrected", card=CARD, author="Dr. <Example>"), EXPORTED)
    text = text_of(page)
    assert "Corrected by hand by Dr. &lt;Example&gt;." in text
    assert "Exported on 2026-11-30, 06:20." in text
    assert "2 regions, 5.0 cm³ in all." in text
    assert "changed what the program had found: no probability is claimed" in text
    assert "<h2>Model whose mask was corrected</h2>" in page and CARD["scorer"] in text
    assert "Resampled &lt;knowingly&gt;." in text
    # The larger one first, with its sides.
    assert (
        text.index("Regions, the largest first") < text.rindex("12 × 16 × 15") < text.rindex("12 × 12 × 15")
    )
    assert "right is the patient's left" in html.unescape(text)
    for word in ("log10", "p-value", "normal voxels", "Heatmap"):
        assert word not in text
    assert not re.search(r"https?://|<script|<link|url\(|@import", page)
    assert page.count("<img") == 6, "two slices of each plane"


def test_what_is_drawn_names_no_model_and_an_unknown_author_is_told(head):
    labels = labels_of(head, (2, RIGHT), (7, LEFT))
    mask = HandMask(labels, head, "drawn", names={7: "oedema"}, card=CARD)
    text = text_of(hand_report_page(mask, EXPORTED))
    assert "Drawn by hand." in text
    assert "by whom it was made is not known" in text
    assert "Model" not in text
    assert "oedema" in text


def test_an_empty_mask_and_many_regions_have_a_page(head):
    page = hand_report_page(HandMask(labels_of(head), head, "corrected"), EXPORTED)
    empty = text_of(page)
    assert "Nothing is marked." in empty and "Regions" in empty
    assert "most of the mask" not in empty and "outline" not in empty
    assert "The middle of the scan, without any mask" in empty
    assert page.count("<img") == 3, "the middle slice of each plane, where the head is"
    spots = [(1, (2 * i // 20 * 2 + 8, 2 * i % 20 + 14, 20)) for i in range(MAX_LISTED + 4)]
    many = text_of(hand_report_page(HandMask(labels_of(head, *spots), head, "drawn"), EXPORTED))
    assert "4 further regions, smaller, are in the table" in many


def test_what_a_label_is_called_changes_no_slice_that_is_shown(head):
    """The slices with most of the mask are shown, by its voxels."""
    spot = (slice(20, 21), slice(34, 35), slice(14, 15))

    def captions(last):
        labels = labels_of(head, (1, RIGHT), (2, LEFT), (last, spot))
        return re.findall(
            r"<figcaption>(.*?)</figcaption>", hand_report_page(HandMask(labels, head, "drawn"), EXPORTED)
        )

    assert len(captions(3)) == 6
    assert captions(3) == captions(200)


def test_one_region_that_is_not_listed_is_told_as_one(head):
    spots = [(1, (2 * i // 20 * 2 + 8, 2 * i % 20 + 14, 20)) for i in range(MAX_LISTED + 1)]
    page = hand_report_page(HandMask(labels_of(head, *spots), head, "drawn"), EXPORTED)
    assert "1 further region, smaller, is in the table" in page


def test_the_page_lies_beside_the_table_with_what_it_says(tmp_path, head):
    mask = HandMask(labels_of(head, (1, RIGHT)), head, "corrected", card=CARD, author="Dr. Example")
    written = save_hand_outputs(mask, tmp_path, "scan", ("report",))
    assert written["report_page"] == tmp_path / "scan_by_hand_report.html"
    assert "Corrected by hand by Dr. Example." in written["report_page"].read_text(encoding="utf-8")
    document = json.loads(written["report"].read_text(encoding="utf-8"))
    assert document["author"] == "Dr. Example"
    assert datetime.fromisoformat(document["exported"]).tzinfo is not None


def test_pictures_have_pixels(tmp_path):
    Image.fromarray(np.tile(np.arange(40, dtype=np.uint8), (30, 1))).save(tmp_path / "scan.png")
    volume = read_volume(tmp_path / "scan.png")
    labels = labels_of(volume, (1, (0, slice(4, 8), slice(10, 16))))
    page = hand_report_page(HandMask(labels, volume, "drawn"), EXPORTED)
    assert "the mask's outline; as stored." in html.unescape(page)
    assert "24 px" in page and "column 12, row 6" in page
    assert "mm" not in text_of(page).partition("Regions")[2]
    assert page.count("<img") == 1


@pytest.mark.parametrize(("shape", "told"), [((30, 40), "from 0."), ((5, 30, 40), "from 0, images from 1.")])
def test_places_in_pixels_are_counted_as_is_told(shape, told):
    """All of them were told to be counted from 0, and “image 3” was the third."""
    geometry = Geometry.of_pixels(shape)
    values = np.random.default_rng(0).random(geometry.canonical_shape, np.float32)
    volume = Volume(values, geometry, "scan")
    labels = labels_of(volume, (1, (-3, slice(4, 8), slice(10, 16)) if len(shape) == 3 else (0, 6, 12)))
    text = text_of(hand_report_page(HandMask(labels, volume, "drawn"), EXPORTED))
    assert f"rows and columns are counted {told}" in text
    assert ("image 3, column" in text) == (len(shape) == 3)
