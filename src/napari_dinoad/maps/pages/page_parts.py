"""What pages about one scan have in common: their style, pairs of pictures, sides of the body, the model's facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_dinoad import html
from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.images.persons import of_persons
from napari_dinoad.maps.pictures.panels import annotate, as_jpeg, in_colours
from napari_dinoad.maps.pictures.slice_choice import most_abnormal_slices
from napari_dinoad.maps.pictures.slice_view import SliceView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_dinoad.html import Html
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMap
    from napari_dinoad.maps.regions import Region

__all__ = [
    "MAX_LISTED",
    "RESEARCH_MARK",
    "STYLE",
    "chosen_slices",
    "further_regions",
    "model_facts",
    "note_on_places",
    "on_one_line",
    "pair_of_pictures",
    "picture_of_slice",
    "sides_of",
]

MAX_LISTED = 15
"""Regions in the table and numbered in the pictures; all are in the CSV."""

_PANEL_PX = 300
_SINGLE_PANEL_PX = 560
_PANEL_GAP_PX = 4
_SLICES_A_PLANE = 2
_JPEG_QUALITY = 90

_MIDLINE_SHARE = 0.05
"""Regions whose centre is within this share of the body's width from its middle have no side."""

_SIDE_VOXELS = 1_000_000
"""The middle of the body is found on about so many voxels."""

_THIN_VOXELS = 32
"""… of which none are left out along an axis of so few."""

_EDGE_PERCENTILES = (1, 99)
"""The body reaches from one to the other of these percentiles of its voxels' places: a strap does not count."""

STYLE = """\
.verdict { border: 1px solid var(--line); border-left: 6px solid var(--mark); border-radius: 4px;
  padding: .6rem 1rem; }
.verdict p { margin: .2rem 0; } .verdict .scan { font-size: 1.25rem; font-weight: 600; }
.research { float: right; margin-top: -3.2rem; border: 1px solid var(--mark);
  color: var(--mark); border-radius: 4px; padding: .1rem .6rem;
  font-size: .85rem; font-weight: 600; }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem 1rem; } .pictures figure { margin: 0; }
.pictures img { display: block; background: #000; } .pictures figcaption { max-width: none; margin-top: .15rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; align-items: center; font-size: .85rem; }
.legend img { vertical-align: middle; margin: 0 .3rem; } .swatch { display: inline-block; width: 1rem; height: 0;
  border-top: 3px solid #00c8e0; vertical-align: middle; margin-right: .3rem; }
.line { white-space: nowrap; }
@media print { body { font-size: 11px; } .pictures img { max-width: 46vw; }
  .pictures figure:only-child img { max-width: 100%; } }
"""

RESEARCH_MARK = html.element("span", "Research use only", class_="research")
"""Stands beside the title."""


def on_one_line(words: str) -> Html:
    """Return words that are never broken."""
    return html.element("span", words, class_="line")


def chosen_slices(
    anomaly_map: AnomalyMap, loads: Sequence[np.ndarray], firsts: Sequence[np.ndarray] | None
) -> Iterator[tuple[SliceView, int, int]]:
    """Yield the slices that are shown: its plane, its number, and the side of its panel in pixels.

    Two of each plane, one of a 2D scan; images without a place in the patient have one plane.

    Parameters
    ----------
    anomaly_map : AnomalyMap
    loads, firsts : sequence of numpy.ndarray
        For each axis what is in each slice, of all and of the first region; see `most_abnormal_slices`.
    """
    volume = anomaly_map.source
    planes: tuple[int | None, ...] = (0, 1, 2)
    if volume.is_2d or not volume.geometry.is_physical:
        planes = (None,)
    n_slices, size_px = (1, _SINGLE_PANEL_PX) if volume.is_2d else (_SLICES_A_PLANE, _PANEL_PX)
    for plane in planes:
        view = SliceView.of(anomaly_map, plane)
        of_first = None if firsts is None else firsts[view.axis]
        for index in most_abnormal_slices(loads[view.axis], n_slices, of_first):
            yield view, index, size_px


def picture_of_slice(grey: np.ndarray, view: SliceView, index: int) -> Html:
    """Return a slice of the scan, as `scan_panel` gives it."""
    return _picture([annotate(in_colours(grey), view)], view, index)


def further_regions(n_more: int, how: str) -> list[str]:
    """Return what is told of so many regions that are not listed, which are ``how``; nothing where there are none."""
    if n_more < 1:
        return []
    are = "region, {}, is" if n_more == 1 else "regions, {}, are"
    return [f"{n_more} further {are.format(how)} in the table of regions (CSV)."]


def pair_of_pictures(grey: np.ndarray, marked: Image.Image, view: SliceView, index: int) -> Html:
    """Return a slice of the scan, as `scan_panel` gives it, and beside it what is marked there."""
    return _picture([annotate(in_colours(grey), view), marked], view, index)


def _picture(panels: Sequence[Image.Image], view: SliceView, index: int) -> Html:
    size_px, n_panels = panels[0].width, len(panels)
    row = Image.new("RGB", (n_panels * size_px + _PANEL_GAP_PX * (n_panels - 1), size_px))
    for place, panel in enumerate(panels):
        row.paste(panel, (place * (size_px + _PANEL_GAP_PX), 0))
    position = view.position(index)
    caption = f"{view.name.capitalize()}{f', {position}' if position else ''}"
    width = (478 if size_px == _PANEL_PX else 960) * n_panels // 2
    return html.picture(as_jpeg(row, _JPEG_QUALITY), caption, width)


def model_facts(card: Mapping[str, Any], elements: str) -> Html:
    """Return what the card of a model says as a table; ``elements``: "voxels" or "pixels"."""
    backbone, preprocessing, calibration = (
        card.get(part) or {} for part in ("backbone", "preprocessing", "calibration")
    )
    return html.facts(
        {
            "Scorer": card.get("scorer"),
            "Backbone": f"{backbone.get('name')}, weights {str(backbone.get('weights_sha256'))[:12]}… (SHA-256)",
            "Preprocessing": _preprocessing_words(preprocessing),
            "Fitted on": f"{_normal_scans(card)}, {card.get('n_slices')} slices",
            "Calibrated on": (
                f"{_normal_scans(calibration)} that the scorer had not seen "
                f"({calibration.get('method')}), {calibration.get('n_voxels', 0):,} {elements}"
            ),
            "Made": card.get("created"),
            "Versions": ", ".join(
                f"{name} {version}" for name, version in (card.get("versions") or {}).items()
            ),
        }
    )


def _normal_scans(counts: Mapping[str, Any]) -> str:
    n_scans = counts.get("n_scans")
    return f"{n_scans} normal scans{of_persons(n_scans or 0, counts.get('n_persons'))}"


def _preprocessing_words(preprocessing: Mapping[str, Any]) -> str:
    words = [f"preset {preprocessing.get('preset')}", f"{preprocessing.get('plane')} slices"]
    if preprocessing.get("resolution_px"):
        words.append(f"{preprocessing['resolution_px']} px")
    if preprocessing.get("intensity") == "window" and preprocessing.get("window"):
        low, high = preprocessing["window"]
        words.append(f"window {low:g} to {high:g} HU")
    return ", ".join(words)


def note_on_places(volume: Volume) -> str:
    """Return what sizes, sides and positions on a page are counted in."""
    if volume.geometry.is_physical:
        return (
            "Sides are the patient's, against the middle of the body in this scan. Positions are in the scan's own "
            "coordinates, in mm towards right or left, anterior or posterior, superior or inferior."
        )
    images = "" if volume.is_2d else ", images from 1"
    return (
        "The scan has no physical size: sizes and positions are in pixels; rows and columns are counted from "
        f"0{images}."
    )


def sides_of(
    volume: Volume, regions: Sequence[Region], preprocessing: Mapping[str, Any] | None
) -> dict[int, str]:
    """Return on which side of the body's middle each region lies: right, left or midline; empty without a place."""
    if not volume.geometry.is_physical or not regions or volume.values.shape[2] == 1:
        return {}
    is_ct = (preprocessing or {}).get("intensity") == "window"
    step = max(1, round((volume.values.size / _SIDE_VOXELS) ** (1 / 3)))
    steps = [step if n > _THIN_VOXELS else 1 for n in volume.values.shape]
    coarse = volume.values[tuple(slice(None, None, every) for every in steps)]
    body = find_body(coarse, is_ct=is_ct)
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    weights = np.cumsum(body.sum(axis=(0, 1))[columns], dtype=np.float64)
    first, last = (
        columns[np.searchsorted(weights, weights[-1] * share / 100)] for share in _EDGE_PERCENTILES
    )
    middle = steps[2] * (first + last) / 2
    margin = steps[2] * _MIDLINE_SHARE * (last - first)
    sides = {}
    to_index = np.linalg.inv(volume.geometry.canonical_affine)
    for region in regions:
        if region.centroid_mm is not None:
            offset = float((to_index @ [*region.centroid_mm, 1])[0]) - middle
            sides[region.label] = "midline" if abs(offset) <= margin else "right" if offset > 0 else "left"
    return sides
