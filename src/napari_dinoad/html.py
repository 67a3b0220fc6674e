"""Reports as one self-contained HTML file: text that is always escaped, tables, pictures and small SVG plots.

Nothing is loaded from elsewhere and there is no script, so that a report can be mailed, archived and opened offline.
"""

from __future__ import annotations

import base64
import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dinoad import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Html", "Series", "element", "facts", "image", "page", "picture", "plot", "section", "table"]

_STYLE = """\
:root { color-scheme: light dark; --line: #8886; --soft: #8881; --mark: #c2410c; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { display: inline-block; margin: .6rem 1rem .6rem 0; vertical-align: top; }
figcaption { font-size: .85rem; max-width: 27rem; } img { max-width: 100%; height: auto; }
.note { border-left: 3px solid var(--mark); padding: .3rem .8rem; background: var(--soft); }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .axis { stroke: currentColor; stroke-opacity: .5; fill: none; } svg .grid { stroke: var(--line); }
@media print { body { margin: 0; max-width: none; } figure, tr, li { break-inside: avoid; }
  h2, h2 + p { break-after: avoid; } }
"""

_COLOURS = ("#0e7490", "#c2410c", "#6d28d9", "#4d7c0f")
"""Told apart by people with the common forms of colour blindness, on white and on black."""

_JPEG_MAGIC = b"\xff\xd8"

_WIDTH, _HEIGHT = 444, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 82, 12, 10, 40
"""On the left there is room for the axis' name beside numbers such as -1.25e+07."""
_TICKS = 5


class Html(str):
    """Markup that is complete and safe; any other string is text and gets escaped."""

    __slots__ = ()


def element(name: str, *content: str | int | float, **attributes: str | int | float) -> Html:
    """Return ``<name …>content</name>``.

    Parameters
    ----------
    name : str
    *content : str or number
        `Html` is taken as it is, everything else is escaped.
    **attributes : str or number
        Escaped; a trailing underscore is dropped (``class_``), other underscores become hyphens.
    """
    inside = "".join(_escaped(item) for item in content)
    return Html(f"<{name}{_attributes(attributes)}>{inside}</{name}>")


def _escaped(item: str | int | float) -> str:
    return str(item) if isinstance(item, Html) else html.escape(str(item))


def _attributes(attributes: Mapping[str, str | int | float]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
    )


def page(title: str, *content: Html, style: str = "") -> str:
    """Return a whole HTML document that ends with the version and the intended use.

    ``style`` is CSS of the page's own, after the common one.
    """
    foot = f"napari-dinoad {__version__}. Research use only; not a medical device."
    body = element("body", element("h1", title), *content, element("p", element("small", foot)))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"{element('title', title)}<style>\n{_STYLE}{style}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n{body}</html>\n'


def section(title: str, *content: Html | str) -> Html:
    """Return a heading with what belongs to it; plain strings become paragraphs."""
    parts = [item if isinstance(item, Html) else element("p", item) for item in content]
    return element("section", element("h2", title), *parts)


def facts(pairs: Mapping[str, object]) -> Html:
    """Return a table of names and values."""
    rows = [element("tr", element("th", name, scope="row"), _cell(value)) for name, value in pairs.items()]
    return element("table", *rows)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Return a table; columns that hold only numbers (or None, shown as –) are set to the right."""
    numeric = [
        any(_is_number(row[i]) for row in rows) and all(_is_number(row[i]) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    head = [
        element("th", name, scope="col", **_number_class(right))
        for name, right in zip(header, numeric, strict=True)
    ]
    lines = [
        element("tr", *(_cell(value, right) for value, right in zip(row, numeric, strict=True)))
        for row in rows
    ]
    return element("table", element("thead", element("tr", *head)), element("tbody", *lines))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number_class(is_number: bool) -> dict[str, str]:
    return {"class_": "number"} if is_number else {}


def _cell(value: object, is_number: bool = False) -> Html:
    if isinstance(value, Html):
        text: str = value
    elif value is None:
        text = "–"
    else:
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return element("td", text, **_number_class(is_number))


def image(encoded: bytes, alternative: str, width_px: int | None = None) -> Html:
    """Return a PNG or JPEG image inside the document, with its alternative text."""
    data = base64.b64encode(encoded).decode("ascii")
    kind = "jpeg" if encoded.startswith(_JPEG_MAGIC) else "png"
    size = {} if width_px is None else {"width": width_px}
    return Html(
        f"<img{_attributes({'src': f'data:image/{kind};base64,{data}', 'alt': alternative, **size})}>"
    )


def picture(encoded: bytes, caption: str, width_px: int | None = None) -> Html:
    """Return an image with a caption that is also its alternative text."""
    return element("figure", image(encoded, caption, width_px), element("figcaption", caption))


@dataclass(frozen=True)
class Series:
    """A curve or a cloud of points.

    Attributes
    ----------
    name : str
        For the legend.
    x, y : sequence of float
        Of one length; points that are not finite are left out.
    points : bool
        Draw dots, not a line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = False


def plot(caption: str, series: Sequence[Series], x_label: str, y_label: str) -> Html:
    """Return an SVG plot of some series on common linear axes, with a caption that is also its description."""
    finite = [(x, y) for one in series for x, y in _finite_points(one)]
    if not finite:
        return element("p", f"{caption}: nothing to show.")
    x_range = _padded([x for x, _ in finite])
    y_range = _padded([y for _, y in finite])
    frame = _Frame(x_range, y_range, counts=all(x.is_integer() for x, _ in finite))
    parts = [*frame.axes(x_label, y_label)]
    for number, one in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        parts += frame.drawn(one, colour)
        parts += _legend(number, one, colour)
    svg = element(
        "svg",
        element("title", caption),
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT + 16 * len(series)}",
        width=_WIDTH,
        height=_HEIGHT + 16 * len(series),
        role="img",
    )
    return element("figure", svg, element("figcaption", caption))


def _finite_points(series: Series) -> list[tuple[float, float]]:
    pairs = zip(series.x, series.y, strict=True)
    return [(float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high > low:
        return low, high
    pad = abs(low) * 0.05 or 1.0
    return low - pad, high + pad


def _legend(number: int, series: Series, colour: str) -> list[Html]:
    y = _HEIGHT + 16 * number
    return [
        element("rect", x=_LEFT, y=y, width=14, height=4, fill=colour),
        element("text", series.name, x=_LEFT + 20, y=y + 7),
    ]


class _Frame:
    """The plotting area: from data to drawing coordinates; where x ``counts`` it has whole numbers alone."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float], *, counts: bool) -> None:
        self._x_range, self._y_range = x_range, y_range
        self._x_step = 1.0 if counts else 0.0

    def _x(self, value: float) -> float:
        low, high = self._x_range
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def _y(self, value: float) -> float:
        low, high = self._y_range
        return round(_HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def axes(self, x_label: str, y_label: str) -> list[Html]:
        """Return the frame, ticks with their numbers, and the axes' names."""
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = [element("path", d=f"M{_LEFT},{_TOP}V{bottom}H{right}", class_="axis")]
        for value in _ticks(*self._x_range, self._x_step):
            x = self._x(value)
            parts.append(element("text", f"{value:.4g}", x=x, y=bottom + 14, text_anchor="middle"))
        for value in _ticks(*self._y_range):
            y = self._y(value)
            parts.append(element("path", d=f"M{_LEFT},{y}H{right}", class_="grid"))
            parts.append(element("text", f"{value:.4g}", x=_LEFT - 5, y=y + 4, text_anchor="end"))
        middle_x, middle_y = (_LEFT + right) / 2, (_TOP + bottom) / 2
        parts.append(element("text", x_label, x=middle_x, y=bottom + 30, text_anchor="middle"))
        turned = f"rotate(-90 12 {middle_y})"
        parts.append(element("text", y_label, x=12, y=middle_y, text_anchor="middle", transform=turned))
        return parts

    def drawn(self, series: Series, colour: str) -> list[Html]:
        """Return the line or the dots of a series."""
        where = [(self._x(x), self._y(y)) for x, y in _finite_points(series)]
        if series.points or len(where) == 1:
            return [element("circle", cx=x, cy=y, r=2.5, fill=colour) for x, y in where]
        line = " ".join(f"{x},{y}" for x, y in where)
        return [element("polyline", points=line, fill="none", stroke=colour, stroke_width=1.6)]


def _ticks(low: float, high: float, least_step: float = 0.0) -> list[float]:
    """Return round numbers within the range, ``least_step`` or more apart."""
    rough = (high - low) / _TICKS
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = max(least_step, next(f * magnitude for f in (1, 2, 5, 10) if f * magnitude >= rough))
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)]
