"""Masks are told from the heatmap beneath them, also by those who see fewer colours."""

import numpy as np
import pytest
from napari.layers import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_dinoad.gui.viewer.looks import hand_look, heatmap_look, kinds_look, mask_look, unlike_look
from napari_dinoad.gui.viewer.mask_values import CHOSEN

SEEN_AS = {
    "all colours": np.eye(3),
    "without red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "without green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "without blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
"""Machado et al., 2009, DOI 10.1109/TVCG.2009.113: of linear RGB, for protanopia, deuteranopia and tritanopia."""

PLAINLY_OTHER = 8
"""CIEDE2000; two colours side by side are just told apart at 1 to 2."""


def linear(colours):
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def as_seen(colours, sight):
    seen = np.clip(linear(colours) @ np.transpose(SEEN_AS[sight]), 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055))


def laid_over(ground, colours, opacity):
    return (1 - opacity) * ground + opacity * colours


@pytest.mark.parametrize("sight", SEEN_AS)
def seen_on_heatmaps(look, label, sight):
    """Return heatmaps on grey, and the same beneath a label, as seen."""
    heat = heatmap_look()["colormap"].map(np.linspace(0, 1, 32))
    greys = np.linspace(0.1, 0.9, 9)[:, None, None] * np.ones(3)
    ground = laid_over(greys, heat[:, :3], heat[:, 3:])
    masked = laid_over(ground, look["colormap"].colors[label][:3], look["opacity"])
    return as_seen(ground, sight), as_seen(masked, sight)


@pytest.mark.parametrize("sight", SEEN_AS)
@pytest.mark.parametrize(
    ("look", "label"),
    [(mask_look(), 1), (mask_look(), CHOSEN), (hand_look(), 1)],
    ids=["found", "chosen", "by hand"],
)
def test_a_mask_is_told_from_the_heatmap_it_lies_on(look, label, sight):
    assert deltaE_ciede2000(*seen_on_heatmaps(look, label, sight)).min() > PLAINLY_OTHER


@pytest.mark.parametrize("sight", SEEN_AS)
def test_the_chosen_region_is_told_from_the_others(sight):
    (_, others), (_, chosen) = (seen_on_heatmaps(mask_look(), label, sight) for label in (1, CHOSEN))
    assert deltaE_ciede2000(others, chosen).min() > PLAINLY_OTHER


def look_of_layer(layer):
    """Return the colours (n, 3) and opacities (n, 1) of four scores, from a quarter to the highest."""
    drawn = layer.colormap.map(np.linspace(0.25, 1, 4))
    return drawn[:, :3], layer.opacity * drawn[:, 3:], str(layer.blending)


@pytest.mark.parametrize("sight", SEEN_AS)
@pytest.mark.parametrize("grey", [0.05, 0.5, 0.95])
def test_scores_are_told_from_each_other_on_dark_and_bright_anatomy(grey, sight):
    colours, opacity, blending = look_of_layer(Image(np.zeros((4, 4)), **unlike_look()))
    kept = 1.0 if blending == "additive" else 1 - opacity
    seen = as_seen(np.clip(kept * grey + opacity * colours, 0, 1), sight)
    assert deltaE_ciede2000(seen[1:], seen[:-1]).min() > PLAINLY_OTHER


def test_kinds_leave_bright_and_dark_to_the_scan():
    look = kinds_look()
    lightness = rgb2lab(look["colormap"].colors[1:, :3])[:, 0]
    assert np.ptp(lightness) < 2
    assert len(np.unique(look["colormap"].colors[1:], axis=0)) == len(lightness)
