"""Self-contained pages: well-formed, escaped, with plots whose points lie where they should."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest

from napari_dinoad.html import Series, element, facts, page, picture, plot, section, table

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NASTY = """<script>alert("x")</script> & 'Ångström'"""


def test_every_text_is_escaped_and_nothing_is_loaded():
    content = (
        section(NASTY, NASTY, table([NASTY], [[NASTY]]), facts({NASTY: NASTY})),
        picture(PNG, NASTY),
        plot(NASTY, [Series(NASTY, [0, 1], [0, 1])], NASTY, NASTY),
    )
    text = page(NASTY, *content)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r'(src|href)="(?!data:image/png)', text)
    assert "default-src 'none'" in text


def test_on_paper_rows_are_whole_and_headings_stay_with_what_follows():
    """Long tables were moved to the next page as a whole, and left their headings behind."""
    printed = page("a").split("@media print")[1].split("</style>")[0]
    kept = dict(re.findall(r"([^{}]+)\{ (break-[a-z]+: avoid); \}", printed))
    whole, followed = (
        {name.strip() for names, rule in kept.items() if rule == told for name in names.split(",")}
        for told in ("break-inside: avoid", "break-after: avoid")
    )
    assert {"figure", "tr"} <= whole and "table" not in whole
    assert {"h2", "h2 + p"} <= followed


def test_elements_are_well_formed():
    content = element("div", section("a", "b"), plot("c", [Series("s", [1, 2], [3, 4])], "x", "y"))
    tree = ElementTree.fromstring(content)
    assert [node.tag for node in tree] == ["section", "figure"]


def test_numbers_are_set_to_the_right_and_none_is_a_dash():
    text = table(["name", "value"], [["a", 1.23456], ["b", None]])
    assert '<td class="number">1.235</td>' in text
    assert '<td class="number">–</td>' in text
    assert "<td>a</td>" in text


def points_of(svg):
    line = ElementTree.fromstring(svg).find(".//polyline").get("points")
    return [tuple(map(float, pair.split(","))) for pair in line.split()]


def test_points_keep_their_order_and_stay_in_the_frame():
    drawn = points_of(plot("", [Series("s", [0, 1, 2, 3], [5.0, 1.0, float("nan"), 3.0])], "x", "y"))
    assert len(drawn) == 3, "a point that is not a number is left out"
    xs, ys = zip(*drawn, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[0] < ys[2] < ys[1], "higher values are drawn higher up"
    assert all(0 < x < 444 and 0 < y < 240 for x, y in drawn)


def test_epochs_are_whole_numbers_and_large_values_leave_room_for_the_axis_name():
    """Epochs were 1, 1.5, 2 …, and the name of the axis lay over 6.5e+07."""
    svg = plot("", [Series("s", [1, 2, 3], [-6.31e7, -6.42e7, -6.55e7])], "epoch", "likelihood")
    texts = ElementTree.fromstring(svg).findall(".//text")
    ends = [text for text in texts if text.get("text-anchor") == "end"]
    assert len(ends) > 2
    assert max(len(text.text) for text in ends) >= 8
    # Letters of 11 pixels are up to 7 wide; the name is turned, and ends 16 from the left.
    assert all(float(text.get("x")) - 7 * len(text.text) >= 14 for text in ends)
    numbers = [text.text for text in texts if text.get("text-anchor") == "middle"]
    assert numbers[:3] == ["1", "2", "3"]
    assert "1.5" in plot("", [Series("s", [1, 2.25, 3], [1, 2, 3])], "mm", "y")


@pytest.mark.parametrize("y", [[], [float("inf")]])
def test_a_plot_of_nothing_says_so(y):
    assert "nothing to show" in plot("losses", [Series("s", list(range(len(y))), y)], "x", "y")


def test_a_single_value_is_a_dot():
    tree = ElementTree.fromstring(plot("", [Series("s", [1], [2.0])], "x", "y"))
    assert len(tree.findall(".//circle")) == 1
