"""Seconds that the plugin's dock widget takes to import in a napari viewer that is open.

tools/with_screen.sh python benchmarks/plugin_import.py [--runs 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="processes to import in (default: %(default)s)")
    spent = []
    for _ in range(parser.parse_args().runs):
        done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
        spent.append(float(done.stdout.split()[-1]))
    print(
        f"dock widget beyond an open viewer: median {statistics.median(spent):.3f} s, longest {max(spent):.3f} s"
    )


if __name__ == "__main__":
    main()
