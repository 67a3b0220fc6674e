"""Seconds that the plugin's dock widget takes to import in a napari viewer that is open.

tools/with_screen.sh python benchmarks/plugin_import.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

N_RUNS = 5

_CODE = """
import time, warnings
warnings.simplefilter("ignore")
import napari
napari.Viewer(show=False)
started = time.perf_counter()
import napari_dinoad.gui.dock_widget
print(time.perf_counter() - started)
"""


def main() -> None:
    """Import in fresh processes and print the median."""
    spent = []
    for _ in range(N_RUNS):
        done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
        spent.append(float(done.stdout.split()[-1]))
    print(
        f"dock widget beyond an open viewer: median {statistics.median(spent):.3f} s, longest {max(spent):.3f} s"
    )


if __name__ == "__main__":
    main()
