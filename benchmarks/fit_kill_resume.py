"""Kill a fit at random moments, resume it each time, and compare its model with that of an undisturbed fit.

    python benchmarks/fit_kill_resume.py FOLDER [--kills 20] [--seed 0] [-- OPTIONS OF dinoad fit]

The undisturbed fit is timed first; the moments are drawn so that the kills spread over a whole fit. The process gets
SIGKILL. At the end the model files must be equal byte for byte, but for the creation date, and nothing else may lie
beside them or in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def without_date(path: Path) -> bytes:
    """Return the file's bytes without the creation date."""
    content = path.read_bytes()
    shorter = re.sub(rb'\\"created\\": \\"[^"]*\\", ', b"", content)
    if len(shorter) == len(content):
        raise SystemExit(f"{path}: no creation date was found.")
    return shorter


def main() -> None:
    """Run, print JSON, and end with 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        figures = run(arguments, chance, Path(temporary))
    print(json.dumps(figures, indent=2))
    sys.exit(0 if figures["same_model"] and not figures["left"] else 1)


def run(arguments: argparse.Namespace, chance: random.Random, folder: Path) -> dict[str, object]:
    """Fit once undisturbed and once with kills; return the figures."""
    plain, killed = folder / "plain", folder / "killed"
    plain.mkdir()
    killed.mkdir()
    base = [sys.executable, "-m", "napari_dinoad", "fit", str(arguments.folder), *arguments.options]
    begin = time.perf_counter()
    command = [*base, "--out", str(plain / "m.dinoad"), "--cache", str(folder / "plain-cache")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    undisturbed_s = time.perf_counter() - begin
    cache = folder / "cache"
    command = [*base, "--out", str(killed / "m.dinoad"), "--cache", str(cache)]
    moments: list[dict[str, object]] = []
    begin = time.perf_counter()
    while True:
        # A run begins with some seconds of imports: a moment is drawn from the work after them.
        wait = 2 + chance.random() * undisturbed_s * 2 / arguments.kills
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            if len(moments) >= arguments.kills:
                process.wait()
            else:
                try:
                    process.wait(wait)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            code = process.returncode
        if code == 0:
            break
        if code != -signal.SIGKILL:
            raise SystemExit(f"The fit ended with exit code {code}.")
        moments.append(
            {
                "after_s": round(wait, 1),
                "embedded": len(list(cache.glob("embeddings/*"))),
                "scorers": len(list(cache.glob("fits/*/states/*"))),
                "half_written": len(list(cache.glob("fits/*/temporary/*"))) + len(list(killed.glob(".*"))),
            }
        )
        print(moments[-1], file=sys.stderr, flush=True)
    left = [path for path in (*killed.iterdir(), *cache.rglob("*")) if path.is_file()]
    left = [path for path in left if path.name not in ("m.dinoad", "m.report.html")]
    return {
        "kills": len(moments),
        "undisturbed_seconds": round(undisturbed_s, 1),
        "with_kills_seconds": round(time.perf_counter() - begin, 1),
        "moments": moments,
        "same_model": without_date(plain / "m.dinoad") == without_date(killed / "m.dinoad"),
        "left": [path.name for path in left],
    }


if __name__ == "__main__":
    main()
