"""One page about a mask by hand, for people: who made it, what it marks, where, and of which model's it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad import html
from napari_dinoad.machine.atomic_files import write_text
from napari_dinoad.maps.anomaly_map import AnomalyMap
from napari_dinoad.maps.finding_words import centre_in_words, extent_in_words, in_figures
from napari_dinoad.maps.findings import scan_notes
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
    picture_of_slice,
    sides_of,
)
from napari_dinoad.maps.pictures.panels import (
    MASK_COLOUR,
    annotate,
    grey_window,
    in_colours,
    outline,
    scan_panel,
)
from napari_dinoad.maps.pictures.slice_choice import marked_loads

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from napari_dinoad.html import Html
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.hand_mask import HandMask
    from napari_dinoad.maps.regions import Region

__all__ = ["hand_report_page", "save_hand_report_page"]

_WHEN = "%Y-%m-%d, %H:%M"


def save_hand_report_page(path: Path, mask: HandMask, exported: datetime) -> Path:
    """Write the page as one self-contained HTML file, atomically."""
    write_text(path, hand_report_page(mask, exported))
    return path


def hand_report_page(mask: HandMask, exported: datetime) -> str:
    """Return the page: an HTML document with its pictures inside, without script and without links.

    Parameters
    ----------
    mask : HandMask
    exported : datetime
        When the mask was as it is here, in local time.
    """
    listed = sorted(mask.measured, key=lambda region: -region.n_voxels)[:MAX_LISTED]
    return html.page(
        f"Mask by hand of {mask.source.name}",
        RESEARCH_MARK,
        _verdict(mask, exported),
        _pictures(mask, listed),
        _region_table(mask, listed),
        _notes(mask),
        *_model(mask),
        style=STYLE,
    )


def _verdict(mask: HandMask, exported: datetime) -> Html:
    regions, geometry = mask.measured, mask.source.geometry
    by = f" by {mask.author}" if mask.author else ""
    if regions:
        total = extent_in_words(geometry, sum(region.n_voxels for region in regions))
        marked = f"{len(regions)} region{'s' if len(regions) > 1 else ''}, {total} in all."
    else:
        marked = "Nothing is marked."
    did = "changed what the program had found" if mask.making == "corrected" else "drew it"
    unknown = "" if mask.author else "; by whom it was made is not known"
    return html.element(
        "div",
        html.element("p", f"{mask.in_words}{by}.", class_="scan"),
        html.element("p", f"Exported on {exported.strftime(_WHEN)}{unknown}."),
        html.element("p", marked),
        html.element("p", f"A person {did}: no probability is claimed of this mask."),
        class_="verdict",
    )


def _pictures(mask: HandMask, listed: list[Region]) -> Html:
    """Return slices of each plane: the scan, and beside it the mask's outline; those with most of the mask."""
    if not listed:
        return _pictures_of_scan(mask)
    volume, numbered = mask.source, mask.numbered
    # In place of a map: what is marked is shown, however dark.
    marked = AnomalyMap((numbered > 0).astype(np.float32), volume)
    loads = marked_loads(marked.values, numbered, 0.0)
    firsts = marked_loads(marked.values, numbered, 0.0, listed[0].label)
    window = grey_window(marked, (mask.card or {}).get("preprocessing"))
    shown = np.where(np.isin(numbered, [region.label for region in listed]), numbered, 0)
    last = max(region.label for region in listed)
    figures = []
    for view, index, size_px in chosen_slices(marked, loads, firsts):
        grey = scan_panel(volume, view, index, size_px, window)
        overlay = in_colours(grey).copy()
        outline(overlay, view.show(numbered, index, size_px, smooth=False) > 0, MASK_COLOUR)
        labelled = annotate(overlay, view, region_labels=shown, index=index, max_label=last)
        figures.append(pair_of_pictures(grey, labelled, view, index))
    legend = html.element(
        "p",
        html.element("span", html.element("span", class_="swatch"), "mask by hand"),
        html.element("span", f"Each pair: the scan, and the scan with the mask's outline; {_sides(volume)}."),
        class_="legend",
    )
    return html.section(
        "Slices with most of the mask", legend, html.element("div", *figures, class_="pictures")
    )


def _pictures_of_scan(mask: HandMask) -> Html:
    """Return the middle slice of each plane, of a scan in which nothing is marked."""
    volume = mask.source
    nothing = AnomalyMap(np.zeros(mask.labels.shape, np.float32), volume)
    window = grey_window(nothing, (mask.card or {}).get("preprocessing"))
    middles = [(np.arange(n) == n // 2).astype(float) for n in mask.labels.shape]
    figures = [
        picture_of_slice(scan_panel(volume, view, index, size_px, window), view, index)
        for view, index, size_px in chosen_slices(nothing, middles, None)
    ]
    legend = html.element(
        "p", f"The middle of the scan, without any mask; {_sides(volume)}.", class_="legend"
    )
    return html.section("The scan", legend, html.element("div", *figures, class_="pictures"))


def _sides(volume: Volume) -> str:
    return "right is the patient's left" if volume.geometry.is_physical else "as stored"


def _region_table(mask: HandMask, listed: list[Region]) -> Html:
    if not listed:
        return html.section("Regions", "None.")
    volume = mask.source
    is_physical = volume.geometry.is_physical
    are_named = len(mask.present) > 1
    sides = sides_of(volume, listed, (mask.card or {}).get("preprocessing"))
    header = ["Label" if are_named else "Region", *(["Name"] if are_named else []), "Size"]
    header += ["R–L × A–P × S–I, mm", "Side", "Centre at, mm"] if is_physical else ["Centre at"]
    rows = []
    for region in listed:
        row: list[object] = [region.label, *([mask.names.get(region.label, "–")] if are_named else [])]
        row.append(on_one_line(extent_in_words(volume.geometry, region.n_voxels)))
        if region.extent_mm is not None:
            row += [on_one_line(" × ".join(map(in_figures, region.extent_mm))), sides.get(region.label, "–")]
        rows.append([*row, on_one_line(centre_in_words(region))])
    more = further_regions(len(mask.measured) - len(listed), "smaller")
    return html.section("Regions, the largest first", html.table(header, rows), *more)


def _notes(mask: HandMask) -> Html:
    notes = (*scan_notes(mask.source), note_on_places(mask.source))
    return html.section("Notes", html.element("ul", *(html.element("li", note) for note in notes)))


def _model(mask: HandMask) -> tuple[Html, ...]:
    """Return the model whose mask was corrected; nothing where none was, or it is not known."""
    if mask.making != "corrected" or mask.card is None:
        return ()
    elements = "voxels" if mask.source.geometry.is_physical else "pixels"
    return (html.section("Model whose mask was corrected", model_facts(mask.card, elements)),)
