"""Panels of a picture: a slice of the scan in grey or its colours, and the same with heatmap, outlines and labels."""

from __future__ import annotations

import functools
import io
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_dinoad.images.values.colours import colour_window
from napari_dinoad.settings import HEATMAP_LIMITS, HEATMAP_STOPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMap, AnomalyMask
    from napari_dinoad.maps.pictures.slice_view import SliceView

__all__ = [
    "MASK_COLOUR",
    "TRUTH_COLOUR",
    "annotate",
    "as_jpeg",
    "blend",
    "colour_bar",
    "grey_window",
    "heat_colour",
    "heat_share",
    "in_colours",
    "outline",
    "overlay_panel",
    "scan_panel",
    "signs",
]

MASK_COLOUR = (0, 230, 255)
TRUTH_COLOUR = (60, 255, 60)

_HEAT_PLACES = np.array([place for place, _ in HEATMAP_STOPS])
_HEAT_COLOURS = np.array([colour for _, colour in HEATMAP_STOPS])
"""(n, 4) red, green, blue and opacity at the places (n,), 0 to 1."""

_LABEL_COLOUR = (255, 235, 150)
_SMALLEST_FONT_PX = 16
"""A panel of 300 pixels is 4 cm wide on paper: letters are 2 mm high there."""

_BAR_LENGTHS_MM = (1, 2, 5, 10, 20, 50, 100)


def grey_window(
    anomaly_map: AnomalyMap, preprocessing: Mapping[str, object] | None = None
) -> tuple[float, float]:
    """Return the values shown black and white: the model's window where it has one, else robust percentiles."""
    window = None if preprocessing is None else preprocessing.get("window")
    if preprocessing is not None and preprocessing.get("intensity") == "window" and window is not None:
        low, high = (float(value) for value in np.asarray(window, dtype=float))
        return low, high
    return anomaly_map.shown_range


def scan_panel(
    volume: Volume, view: SliceView, index: int, size_px: int, window: tuple[float, float]
) -> np.ndarray:
    """Return one slice, 0 to 255: (size, size) float32 grey within the window, or (size, size, 3) of its colours."""
    of_colours = colour_window(volume)
    if of_colours is None or volume.colours is None:
        return _within(view.show(volume.values, index, size_px, smooth=True), window)
    channels = (view.show(volume.colours[..., c], index, size_px, smooth=True) for c in range(3))
    is_scan = view.show(np.ones_like(volume.values, np.uint8), index, size_px, smooth=False)
    # Beside the scan it is black: each channel's own darkest value there would be a colour.
    return np.stack([_within(channel, of_colours) * is_scan for channel in channels], axis=-1)


def _within(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    return np.asarray(np.clip((values - window[0]) / max(window[1] - window[0], 1e-12), 0, 1) * 255)


def in_colours(panel: np.ndarray) -> np.ndarray:
    """Return (size, size, 3) uint8 of a panel of a scan, for pictures."""
    whole = panel.astype(np.uint8)
    if whole.ndim == 3:
        return whole
    pixels = np.empty((*whole.shape, 3), dtype=np.uint8)
    # One after the other: NumPy takes four times as long to repeat each along a last axis of three.
    for channel in range(3):
        pixels[..., channel] = whole
    return pixels


def overlay_panel(
    panel: np.ndarray, mask: AnomalyMask, view: SliceView, index: int, truth: np.ndarray | None = None
) -> np.ndarray:
    """Return (size, size, 3) uint8: a panel, the heatmap over it, and the mask's (and the truth's) outline."""
    size_px = panel.shape[0]
    overlay = in_colours(panel)
    heat = view.show(mask.anomaly_map.values, index, size_px, smooth=True)
    # Most of a scan has no heat.
    hot = np.nonzero(heat > HEATMAP_LIMITS[0])
    own = panel[hot] if panel.ndim == 3 else np.repeat(panel[hot][:, None], 3, axis=1)
    overlay[hot] = blend(own, heat[hot])
    outline(overlay, view.show(mask.labels, index, size_px, smooth=False) > 0, MASK_COLOUR)
    if truth is not None:
        outline(overlay, view.show(truth, index, size_px, smooth=False) > 0, TRUTH_COLOUR)
    return overlay


def blend(grey: np.ndarray, neg_log10_p: np.ndarray) -> np.ndarray:
    """Return colours (…, 3) of a scan's own under the heatmap of −log10 p (…)."""
    colours = grey.astype(np.float64)
    is_hot = neg_log10_p > HEATMAP_LIMITS[0]
    share, opacity = heat_share(neg_log10_p[is_hot])
    opacity = opacity[:, None]
    colours[is_hot] = colours[is_hot] * (1 - opacity) + heat_colour(share) * opacity
    return colours


def heat_share(neg_log10_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place within the heatmap's limits (0 to 1) and the opacity (0 below them)."""
    low, high = HEATMAP_LIMITS
    share = np.clip((neg_log10_p - low) / (high - low), 0, 1)
    return share, np.interp(share, _HEAT_PLACES, _HEAT_COLOURS[:, 3])


def heat_colour(share: np.ndarray) -> np.ndarray:
    """Return colours (…, 3), 0 to 255, of places within the heatmap's limits (0 to 1)."""
    channels = [np.interp(share, _HEAT_PLACES, _HEAT_COLOURS[:, c]) for c in range(3)]
    return 255 * np.stack(channels, axis=-1)


def colour_bar(width_px: int, height_px: int) -> Image.Image:
    """Return the heatmap's colours on black from its lower to its upper limit, as napari's colour bar has them."""
    colours = blend(np.zeros((1, width_px, 3)), np.linspace(*HEATMAP_LIMITS, width_px)[None])
    return Image.fromarray(np.repeat(colours, height_px, axis=0).astype(np.uint8))


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return an image as JPEG of a quality up to 95, its colours at full resolution: outlines are thin."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def annotate(
    panel: np.ndarray,
    view: SliceView,
    *,
    region_labels: np.ndarray | None = None,
    index: int = 0,
    max_label: int = 0,
) -> Image.Image:
    """Return the panel as an image with orientation letters, a scale bar and, on request, region numbers.

    Parameters
    ----------
    panel : numpy.ndarray
        (size, size, 3) uint8.
    view : SliceView
    region_labels : numpy.ndarray, optional
        (z, y, x) numbers of regions; those up to ``max_label`` are written beside their region.
    index : int
        The slice, for ``region_labels``.
    max_label : int
    """
    image = Image.fromarray(panel)
    _draw_signs(image, view)
    size = image.width
    if region_labels is not None:
        draw, font = ImageDraw.Draw(image), _font(size)
        shown = view.show(region_labels, index, size, smooth=False).astype(np.int64)
        all_rows, all_columns = np.nonzero((shown > 0) & (shown <= max_label))
        label_of = shown[all_rows, all_columns]
        for label in np.unique(label_of):
            rows, columns = (places[label_of == label] for places in (all_rows, all_columns))
            # With the stroke around it the whole number must be in the panel.
            _, top, right, bottom = draw.textbbox((0, 0), str(label), font, anchor="lm", stroke_width=2)
            place = (
                min(int(columns.max()) + 3, size - math.ceil(right)),
                min(max(int(rows.mean()), math.ceil(-top)), size - math.ceil(bottom)),
            )
            draw.text(
                place, str(label), MASK_COLOUR, font, anchor="lm", stroke_width=2, stroke_fill=(0, 0, 0)
            )
    return image


def signs(view: SliceView, size_px: int) -> np.ndarray:
    """Return (size, size, 4) uint8 orientation letters and scale bar to lay over a panel: RGBA, premultiplied."""
    image = Image.new("RGBA", (size_px, size_px))
    _draw_signs(image, view)
    return np.array(image)


@functools.cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(_SMALLEST_FONT_PX, size_px // 24))


def _draw_signs(image: Image.Image, view: SliceView) -> None:
    """Draw orientation letters and a scale bar, where the view is of a place in the patient."""
    draw = ImageDraw.Draw(image)
    size = image.width
    font = _font(size)
    if view.edges is not None:
        top, bottom, left, right = view.edges
        middle, margin = size // 2, size // 60 + 2
        for text, place, anchor in (
            (top, (middle, margin), "mt"),
            (bottom, (middle, size - margin), "mb"),
            (left, (margin, middle), "lm"),
            (right, (size - margin, middle), "rm"),
        ):
            draw.text(place, text, _LABEL_COLOUR, font, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))
        _draw_scale_bar(draw, view.pixels_per_unit(size), size, font)


def _draw_scale_bar(
    draw: ImageDraw.ImageDraw, px_per_mm: float, size: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Draw a bar of a round length, about a fifth of the panel, into the lower right corner."""
    length = max((mm for mm in _BAR_LENGTHS_MM if mm * px_per_mm <= 0.25 * size), default=None)
    if length is None:
        return
    right, bottom, margin = size - size // 40, size - size // 40, size // 60
    left = right - round(length * px_per_mm)
    draw.line([(left, bottom), (right, bottom)], _LABEL_COLOUR, width=2)
    text = f"{length // 10} cm" if length % 10 == 0 else f"{length} mm"
    place = ((left + right) // 2, bottom - margin)
    draw.text(place, text, _LABEL_COLOUR, font, anchor="mb", stroke_width=1, stroke_fill=(0, 0, 0))


def outline(pixels: np.ndarray, inside: np.ndarray, colour: tuple[int, int, int], width_px: int = 1) -> None:
    """Draw the edge of what is inside (rows, columns) into pixels (rows, columns, 3), in place."""
    is_within = inside
    for _ in range(width_px):
        wide = np.pad(is_within, 1)
        is_within = is_within & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    pixels[inside & ~is_within] = colour
