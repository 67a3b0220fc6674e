"""One page about one scan, for people: what is unusual, where, how sure, and by which model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_dinoad import html
from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.images.persons import of_persons
from napari_dinoad.machine.atomic_files import write_text
from napari_dinoad.maps.finding_words import (
    elements_of,
    in_figures,
    place_in_words,
    rarity_in_words,
    rate_in_words,
    reaching_in_words,
    size_in_words,
)
from napari_dinoad.maps.findings import chance_words
from napari_dinoad.maps.pictures.panels import (
    annotate,
    as_jpeg,
    colour_bar,
    grey_window,
    in_colours,
    overlay_panel,
    scan_panel,
)
from napari_dinoad.maps.pictures.slice_choice import heat_loads, marked_loads, most_abnormal_slices
from napari_dinoad.maps.pictures.slice_view import SliceView
from napari_dinoad.settings import FALSE_POSITIVE_RATES, HEATMAP_LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_dinoad.html import Html
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.maps.regions import Region

__all__ = ["MAX_LISTED", "report_page", "save_report_page"]

MAX_LISTED = 15
"""Regions in the table and numbered in the pictures; all are in the CSV."""

_PANEL_PX = 300
_SINGLE_PANEL_PX = 560
_SLICES_A_PLANE = 2
_JPEG_QUALITY = 90

_EMBEDDED = "embedded"
"""The built-in backbone, of whose models the page says what they miss above all."""

_MIDLINE_SHARE = 0.05
"""Regions whose centre is within this share of the body's width from its middle have no side."""

_SIDE_VOXELS = 1_000_000
"""The middle of the body is found on about so many voxels."""

_THIN_VOXELS = 32
"""… of which none are left out along an axis of so few."""

_EDGE_PERCENTILES = (1, 99)
"""The body reaches from one to the other of these percentiles of its voxels' places: a strap does not count."""

_STYLE = """\
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


def save_report_page(path: Path, findings: Findings) -> Path:
    """Write the page as one self-contained HTML file, atomically."""
    write_text(path, report_page(findings))
    return path


def report_page(findings: Findings) -> str:
    """Return the page: an HTML document with its pictures inside, without script and without links."""
    sides = _sides(findings)
    return html.page(
        f"Anomalies in {findings.scan}",
        html.element("span", "Research use only", class_="research"),
        _verdict(findings, sides),
        _pictures(findings),
        _region_table(findings, sides),
        _rates(findings),
        _notes(findings),
        _model(findings),
        style=_STYLE,
    )


def _verdict(findings: Findings, sides: dict[int, str]) -> Html:
    regions = findings.mask.regions()
    rate = rate_in_words(findings.mask.fpr)
    if not regions:
        found = f"No region at a rate of {rate} of normal {elements_of(findings)}."
    else:
        total = sum(region.n_voxels for region in regions)
        first = regions[0]
        side = sides.get(first.label)
        found = (
            f"{len(regions)} region{'s' if len(regions) > 1 else ''}, {size_in_words(findings, total)} in all, where "
            f"{elements_of(findings)} are as unusual as at most {rate} of normal ones. The most unusual is region "
            f"{first.label}"
            f"{f' ({side})' if side else ''}: {size_in_words(findings, first.n_voxels)}, peak "
            f"{rarity_in_words(first.peak_neg_log10_p, findings)}."
        )
        if findings.normal_peaks is not None:
            why = (
                f"no voxel of theirs is as unusual as its peak. {chance_words(findings.normal_peaks)}"
                if findings.regions_beyond()
                else "some have voxels as unusual as each peak."
            )
            found += f" {findings.beyond_words().capitalize()}: {why}"
    suspicion = findings.suspicion()
    return html.element(
        "div",
        html.element("p", findings.scan_words(), class_="scan"),
        *((html.element("p", suspicion, class_="note"),) if suspicion else ()),
        html.element("p", found),
        html.element("p", _missed_words(findings)),
        class_="verdict",
    )


def _missed_words(findings: Findings) -> str:
    backbone = ((findings.card or {}).get("backbone") or {}).get("name")
    which = (
        "; this model sees by the built-in backbone, embedded, which hardly finds dark or smooth ones"
        if backbone == _EMBEDDED
        else ""
    )
    return f"What is not marked need not be normal: a lesion can be missed{which}."


def _pictures(findings: Findings) -> Html:
    """Return slices of each plane: the scan, and beside it the heatmap with the mask's outline.

    One is that with most of the most unusual region, the other that with most of all above the mask's threshold.
    """
    volume = findings.volume
    planes = (None,) if volume.is_2d or not volume.geometry.is_physical else (0, 1, 2)
    labels = findings.mask.labels
    threshold = -np.log10(findings.mask.fpr)
    values = findings.mask.anomaly_map.values
    loads = marked_loads(values, labels, threshold)
    if not any(sums.any() for sums in loads):
        loads = heat_loads(values)
    window = grey_window(findings.mask, (findings.card or {}).get("preprocessing"))
    regions = findings.mask.regions()
    firsts = marked_loads(values, labels, threshold, regions[0].label) if regions else None
    figures = []
    for plane in planes:
        view = SliceView.of(findings.mask.anomaly_map, plane)
        n_slices = 1 if plane is None and volume.is_2d else _SLICES_A_PLANE
        of_first = None if firsts is None else firsts[view.axis]
        for index in most_abnormal_slices(loads[view.axis], n_slices, of_first):
            size = _SINGLE_PANEL_PX if n_slices == 1 else _PANEL_PX
            figures.append(_figure(findings, view, index, size, window))
    return html.section(
        "Most abnormal slices", _legend(findings), html.element("div", *figures, class_="pictures")
    )


def _figure(
    findings: Findings, view: SliceView, index: int, size_px: int, window: tuple[float, float]
) -> Html:
    mask = findings.mask
    grey = scan_panel(findings.volume, view, index, size_px, window)
    overlay = overlay_panel(grey, mask, view, index)
    pair = Image.new("RGB", (2 * size_px + 4, size_px))
    pair.paste(annotate(in_colours(grey), view), (0, 0))
    labelled = annotate(
        overlay, view, region_labels=mask.labels, index=index, max_label=_last_listed(findings)
    )
    pair.paste(labelled, (size_px + 4, 0))
    position = view.position(index)
    caption = f"{view.name.capitalize()}{f', {position}' if position else ''}"
    width = 478 if size_px == _PANEL_PX else 960
    return html.picture(as_jpeg(pair, _JPEG_QUALITY), caption, width)


def _legend(findings: Findings) -> Html:
    low, high = HEATMAP_LIMITS
    buffer = io.BytesIO()
    colour_bar(140, 10).save(buffer, format="PNG")
    bar = html.image(buffer.getvalue(), "")
    shown = "right is the patient's left" if findings.volume.geometry.is_physical else "as stored"
    return html.element(
        "p",
        html.element("span", f"Heatmap: p = {rate_in_words(10**-low)}", bar, rate_in_words(10**-high)),
        html.element(
            "span",
            html.element("span", class_="swatch"),
            f"mask at {rate_in_words(findings.mask.fpr)} of normal {elements_of(findings)}",
        ),
        html.element("span", f"Each pair: the scan, and the scan with heatmap; {shown}."),
        class_="legend",
    )


def _region_table(findings: Findings, sides: dict[int, str]) -> Html:
    regions = findings.mask.regions()
    if not regions:
        return html.section("Regions", "None.")
    physical = findings.volume.geometry.is_physical
    header = ["Region", "Size", "Peak −log10 p", "As unusual as"]
    if physical:
        header[2:2] = ["R–L × A–P × S–I, mm", "Side"]
    if findings.normal_peaks is not None:
        header.append("Normal scans that reach it")
    header.append("Peak at, mm" if physical else "Peak at")
    rows = [_region_row(findings, region, sides) for region in regions[:MAX_LISTED]]
    more = len(regions) - MAX_LISTED
    parts: list[Html | str] = [html.table(header, rows)]
    if more > 0:
        parts.append(f"{more} further regions, of lower peak, are in the table of regions (CSV).")
    return html.section("Regions, the most unusual first", *parts)


def _region_row(findings: Findings, region: Region, sides: dict[int, str]) -> list[object]:
    row: list[object] = [region.label, _on_one_line(size_in_words(findings, region.n_voxels))]
    if region.extent_mm is not None:
        row += [_on_one_line(" × ".join(map(in_figures, region.extent_mm))), sides.get(region.label, "–")]
    row += [f"{region.peak_neg_log10_p:.1f}", rarity_in_words(region.peak_neg_log10_p, findings)]
    if findings.normal_peaks is not None:
        row.append(_on_one_line(reaching_in_words(region, findings.normal_peaks)))
    return [*row, _on_one_line(place_in_words(region))]


def _on_one_line(words: str) -> Html:
    return html.element("span", words, class_="line")


def _rates(findings: Findings) -> Html:
    """Return how much is marked at each rate, against what a normal scan of this size would have marked."""
    anomaly_map = findings.mask.anomaly_map
    n_scored = anomaly_map.n_scored
    rows = []
    for rate in sorted({*FALSE_POSITIVE_RATES, findings.mask.fpr}, reverse=True):
        marked = anomaly_map.n_beyond(rate)
        shown = " (mask)" if rate == findings.mask.fpr else ""
        rows.append(
            [
                f"{rate_in_words(rate)}{shown}",
                f"{-np.log10(rate):.2f}",
                size_in_words(findings, marked),
                size_in_words(findings, rate * n_scored),
            ]
        )
    n_shown = int(np.count_nonzero(findings.mask.labels))
    n_marked = anomaly_map.n_beyond(findings.mask.fpr)
    left_out = (
        [
            f"The regions of this report hold {size_in_words(findings, n_shown)} of it; the others were left out."
        ]
        if n_shown < n_marked
        else []
    )
    return html.section(
        "How much is unusual",
        "At each rate some of every normal scan is marked, by design. What counts is how much more is marked here.",
        *left_out,
        html.table(
            [
                f"Share of normal {elements_of(findings)}",
                "−log10 p from",
                "Marked in this scan",
                "Expected in a normal scan",
            ],
            rows,
        ),
    )


def _notes(findings: Findings) -> Html:
    notes = [html.element("li", note) for note in findings.all_notes() if note != findings.suspicion()]
    fixed = [
        "A p-value of a voxel says how rare such a voxel is in normal scans, not what it is. Neighbouring voxels are "
        "not independent, and p-values of voxels are not corrected for how many voxels a scan has.",
        "They hold for scans of the kind that the model was fitted on: contrast, body part, preparation, resolution.",
        "Sizes are those of what is marked at this rate. A region reaches beyond the edge of what is unusual in it, "
        "and may be several times as large: measure a finding in the scan.",
    ]
    if findings.normal_peaks is not None:
        fixed.insert(
            1,
            "A normal scan reaches the peak of a region where any of its voxels is as unusual: what many of them "
            "have somewhere may well be chance.",
        )
    if findings.volume.geometry.is_physical:
        fixed.append(
            "Sides are the patient's, against the middle of the body in this scan. Positions are in the scan's own "
            "coordinates, in mm towards right or left, anterior or posterior, superior or inferior."
        )
    else:
        fixed.append("The scan has no physical size: sizes and positions are in pixels, counted from 0.")
    return html.section("Notes", html.element("ul", *notes, *(html.element("li", note) for note in fixed)))


def _model(findings: Findings) -> Html:
    card = findings.card
    if card is None:
        return html.section("Model", "Not known.")
    backbone, preprocessing, calibration = (
        card.get(part) or {} for part in ("backbone", "preprocessing", "calibration")
    )
    told: dict[str, object] = {
        "Scorer": card.get("scorer"),
        "Backbone": f"{backbone.get('name')}, weights {str(backbone.get('weights_sha256'))[:12]}… (SHA-256)",
        "Preprocessing": _preprocessing_words(preprocessing),
        "Fitted on": f"{_normal_scans(card)}, {card.get('n_slices')} slices",
        "Calibrated on": (
            f"{_normal_scans(calibration)} that the scorer had not seen "
            f"({calibration.get('method')}), {calibration.get('n_voxels', 0):,} {elements_of(findings)}"
        ),
        "Made": card.get("created"),
        "Versions": ", ".join(f"{name} {version}" for name, version in (card.get("versions") or {}).items()),
    }
    return html.section("Model", html.facts(told))


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


def _last_listed(findings: Findings) -> int:
    regions = findings.mask.regions()[:MAX_LISTED]
    return max((region.label for region in regions), default=0)


def _sides(findings: Findings) -> dict[int, str]:
    """Return on which side of the body's middle each region lies: right, left or midline; empty without a place."""
    volume = findings.volume
    if not volume.geometry.is_physical or not findings.mask.regions() or volume.values.shape[2] == 1:
        return {}
    preprocessing = (findings.card or {}).get("preprocessing") or {}
    step = max(1, round((volume.values.size / _SIDE_VOXELS) ** (1 / 3)))
    steps = [step if n > _THIN_VOXELS else 1 for n in volume.values.shape]
    coarse = volume.values[tuple(slice(None, None, every) for every in steps)]
    body = find_body(coarse, is_ct=preprocessing.get("intensity") == "window")
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    weights = np.cumsum(body.sum(axis=(0, 1))[columns], dtype=np.float64)
    first, last = (
        columns[np.searchsorted(weights, weights[-1] * share / 100)] for share in _EDGE_PERCENTILES
    )
    middle = steps[2] * (first + last) / 2
    margin = steps[2] * _MIDLINE_SHARE * (last - first)
    sides = {}
    to_index = np.linalg.inv(volume.geometry.canonical_affine)
    for region in findings.mask.regions():
        if region.centroid_mm is not None:
            offset = float((to_index @ [*region.centroid_mm, 1])[0]) - middle
            sides[region.label] = "midline" if abs(offset) <= margin else "right" if offset > 0 else "left"
    return sides
