"""One page about one scan, for people: what is unusual, where, how sure, and by which model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad import html
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
from napari_dinoad.maps.pages.page_parts import (
    MAX_LISTED,
    RESEARCH_MARK,
    STYLE,
    chosen_slices,
    further_regions,
    model_facts,
    note_on_places,
    on_one_line,
    pair_of_pictures,
    sides_of,
)
from napari_dinoad.maps.pictures.panels import (
    annotate,
    colour_bar,
    grey_window,
    overlay_panel,
    scan_panel,
)
from napari_dinoad.maps.pictures.slice_choice import heat_loads, marked_loads
from napari_dinoad.settings import FALSE_POSITIVE_RATES, HEATMAP_LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.html import Html
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.maps.pictures.slice_view import SliceView
    from napari_dinoad.maps.regions import Region

__all__ = ["MAX_LISTED", "report_page", "save_report_page"]

_EMBEDDED = "embedded"
"""The built-in backbone, of whose models the page says what they miss above all."""


def save_report_page(path: Path, findings: Findings) -> Path:
    """Write the page as one self-contained HTML file, atomically."""
    write_text(path, report_page(findings))
    return path


def report_page(findings: Findings) -> str:
    """Return the page: an HTML document with its pictures inside, without script and without links."""
    sides = _sides(findings)
    return html.page(
        f"Anomalies in {findings.scan}",
        RESEARCH_MARK,
        _verdict(findings, sides),
        _pictures(findings),
        _region_table(findings, sides),
        _rates(findings),
        _notes(findings),
        _model(findings),
        style=STYLE,
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
    labels = findings.mask.labels
    threshold = -np.log10(findings.mask.fpr)
    values = findings.mask.anomaly_map.values
    loads = marked_loads(values, labels, threshold)
    if not any(sums.any() for sums in loads):
        loads = heat_loads(values)
    window = grey_window(findings.mask.anomaly_map, (findings.card or {}).get("preprocessing"))
    regions = findings.mask.regions()
    firsts = marked_loads(values, labels, threshold, regions[0].label) if regions else None
    figures = [
        _figure(findings, *shown, window) for shown in chosen_slices(findings.mask.anomaly_map, loads, firsts)
    ]
    return html.section(
        "Most abnormal slices", _legend(findings), html.element("div", *figures, class_="pictures")
    )


def _figure(
    findings: Findings, view: SliceView, index: int, size_px: int, window: tuple[float, float]
) -> Html:
    mask = findings.mask
    grey = scan_panel(findings.volume, view, index, size_px, window)
    labelled = annotate(
        overlay_panel(grey, mask, view, index),
        view,
        region_labels=mask.labels,
        index=index,
        max_label=_last_listed(findings),
    )
    return pair_of_pictures(grey, labelled, view, index)


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
    more = further_regions(len(regions) - MAX_LISTED, "of lower peak")
    return html.section("Regions, the most unusual first", html.table(header, rows), *more)


def _region_row(findings: Findings, region: Region, sides: dict[int, str]) -> list[object]:
    row: list[object] = [region.label, on_one_line(size_in_words(findings, region.n_voxels))]
    if region.extent_mm is not None:
        row += [on_one_line(" × ".join(map(in_figures, region.extent_mm))), sides.get(region.label, "–")]
    row += [f"{region.peak_neg_log10_p:.1f}", rarity_in_words(region.peak_neg_log10_p, findings)]
    if findings.normal_peaks is not None:
        row.append(on_one_line(reaching_in_words(region, findings.normal_peaks)))
    return [*row, on_one_line(place_in_words(region))]


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
    fixed.append(note_on_places(findings.volume))
    return html.section("Notes", html.element("ul", *notes, *(html.element("li", note) for note in fixed)))


def _model(findings: Findings) -> Html:
    if findings.card is None:
        return html.section("Model", "Not known.")
    return html.section("Model", model_facts(findings.card, elements_of(findings)))


def _last_listed(findings: Findings) -> int:
    regions = findings.mask.regions()[:MAX_LISTED]
    return max((region.label for region in regions), default=0)


def _sides(findings: Findings) -> dict[int, str]:
    return sides_of(findings.volume, findings.mask.regions(), (findings.card or {}).get("preprocessing"))
