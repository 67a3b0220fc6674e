"""What napari loads for a first labels layer is loaded beforehand, piece by piece."""

from __future__ import annotations

import subprocess
import sys

from qtpy.QtCore import QObject, QTimer

from napari_dinoad.gui.viewer.warming_up import WarmUp
from patience import TIMEOUT_MS


def recorder(order, name):
    def step():
        order.append(name)
        QTimer.singleShot(0, lambda: order.append(f"what came in {name}"))

    return step


def test_the_window_has_its_turn_between_the_steps(qtbot):
    order = []
    parent = QObject()
    warm_up = WarmUp(parent, [recorder(order, name) for name in "abc"])
    warm_up.start(0)
    qtbot.waitUntil(lambda: len(order) == 6, timeout=TIMEOUT_MS)
    assert order == [word for name in "abc" for word in (name, f"what came in {name}")]


def test_it_can_be_left(qtbot):
    order = []
    parent = QObject()
    warm_up = WarmUp(parent, [lambda: order.append("a"), lambda: warm_up.stop(), lambda: order.append("c")])
    warm_up.start(0)
    ended = []
    qtbot.waitUntil(lambda: bool(order), timeout=TIMEOUT_MS)
    QTimer.singleShot(300, lambda: ended.append(True))
    qtbot.waitUntil(lambda: bool(ended), timeout=TIMEOUT_MS)
    assert order == ["a"]


def test_what_is_large_is_loaded_before_the_layer_is_made():
    """Where napari comes to need other libraries, they would be loaded in one piece again."""
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from napari_dinoad.gui.viewer.warming_up import steps_of_warm_up
*before, make_labels = steps_of_warm_up()
for step in before:
    step()
loaded = set(sys.modules)
make_labels()
late = sorted(name for name in set(sys.modules) - loaded if name.count(".") < 2)
assert len(late) < 20, late
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
