"""Layers that are taken out of the viewer a moment later."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QObject

from napari_dinoad.gui.viewer.layer_removal import LayerRemoval

pytestmark = pytest.mark.viewer


def test_all_go_also_where_a_listener_fails_over_one(qtbot, viewer):
    """Those after it were left over for good."""
    layers = [viewer.add_image(np.zeros((4, 4)), name=name) for name in "abc"]
    kept = viewer.add_image(np.zeros((4, 4)))
    parent = QObject()
    removal = LayerRemoval(viewer, parent)

    def fail(event):
        if event.value is layers[0]:
            raise RuntimeError("a listener's own fault")

    viewer.layers.events.removed.connect(fail)
    with qtbot.capture_exceptions() as raised:
        removal.add(*layers)
        qtbot.waitUntil(lambda: list(viewer.layers) == [kept])
    assert len(raised) == 1
