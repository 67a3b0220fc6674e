"""What the help button tells."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

__all__ = ["HelpDialog"]

_HELP = """
<h3>In short</h3>
<ol>
<li><b>Scan</b>: open a scan, or choose the layer that holds it.</li>
<li><b>Normal</b>: choose a model of normal. Without one, fit one from a folder of normal scans of the same kind,
or try the demo model with the sample data (File → Open Sample → DINOAD).</li>
<li><b>Find</b>: the slice in view is scored first, the others follow outwards. You can scroll meanwhile; Cancel keeps
what is done.</li>
</ol>
<h3>What the numbers mean</h3>
<p>The heatmap shows how rare a voxel is among normal ones (−log10 p): 1 means one in 10, 2 one in 100, 3 one in
1,000. Its limits are the same for every scan, so a normal scan stays dark.</p>
<p>The <b>false-positive rate</b> is the share of normal voxels that the mask may mark by mistake. It is measured on
normal scans that the model had not seen, so it says nothing about scans of another kind.</p>
<p>The sentence about the whole scan compares its most unusual voxels with those of normal scans. With normal
scans of <i>n</i> persons nothing below 1 / (n + 1) can be claimed.</p>
<p><b>Regions</b>: click one to go to its peak; untick one to take it out of the mask and of exports. <b>Seen</b> in 0
of 24: none of 24 normal scans has so unusual a voxel anywhere; what many of them have may well be chance. Places are
millimetres from the scanner's origin: R / L the patient's right / left, A / P front / back, S / I head / foot.</p>
<p><b>Export result…</b> writes what was found on the scan's own grid: mask, map, table, report. <b>Planes</b> shows
the planes that the canvas does not; <b>Score a folder…</b> does many scans, and lists the least normal first.</p>
<p><b>To draw a mask by hand</b>, press <b>Draw mask</b> and paint; <b>Export mask…</b> writes it, and nothing need
have been found. <b>To correct a mask</b> that was found, press <b>Edit mask</b>: it makes a copy to paint and erase
in. The files say that they are by hand.</p>
<h3>Limits</h3>
<p>Unusual is not the same as ill: an old operation, another scanner or movement is unusual too, and an illness that
looks like normal tissue is not found. <b>Research use only; not a medical device.</b></p>
"""


class HelpDialog(QDialog):
    """The help in a window that may stay open."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Finding anomalies")
        text = QTextBrowser()
        text.setHtml(_HELP)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        rows = QVBoxLayout(self)
        rows.addWidget(text)
        rows.addWidget(buttons)
        self.setWindowFlag(Qt.WindowType.WindowContextHelpButtonHint, False)

    def sizeHint(self) -> QSize:
        """Leave room for most of the text; Qt makes a window no higher than fits the screen."""
        return QSize(520, 560)
