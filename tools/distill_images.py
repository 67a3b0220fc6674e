"""The pictures on which `distill_network.py` trains: procedural anatomy, and slices of permissively licensed scans.

    python tools/distill_images.py --scans FOLDER/normal FOLDER/other --dicom FOLDER/series --out pool.npz

Three kinds of picture, each (n, 256, 256) in 256 grey levels: ``scans`` (slices in three planes of the scans named in
the model card), ``heads`` (slices of procedural heads whose tissues get random grey levels, so that every contrast
occurs), ``scenes`` (bodies filled with organs, vessels, folds, noise of many roughnesses and dead leaves: anatomy of
nothing in particular). No picture of the sets that judge the network is among them.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy import ndimage

from embedded_constants import RESOLUTION_PX, scan_slices
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.phantom import make_normal
from napari_dinoad.settings import ANATOMICAL_PLANES, PRESETS, PreprocessingSettings

SLICES_PER_SCAN_AND_PLANE = 60
N_HEADS = 60
SLICES_PER_HEAD_AND_PLANE = 10
CONTRASTS_PER_SLICE = 2
N_SCENES = 3000


def head_slices(seed: int) -> np.ndarray:
    """Return slices (n, 256, 256) uint8 of one procedural head in all planes, in several random contrasts."""
    rng = np.random.default_rng([seed, 1])
    volume = make_normal(seed)
    pictures = []
    for plane in ANATOMICAL_PLANES:
        scan = prepare_scan(
            volume, PreprocessingSettings("heads", PRESETS["mr-brain"].intensity, plane=plane), RESOLUTION_PX
        )
        chosen = rng.choice(scan.indices, min(SLICES_PER_HEAD_AND_PLANE, len(scan.indices)), replace=False)
        for picture in scan.images(sorted(int(i) for i in chosen)):
            pictures += [random_contrast(picture, rng) for _ in range(CONTRASTS_PER_SLICE)]
    return grey_levels(np.stack(pictures))


def random_contrast(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture with its grey levels sent through a random curve that keeps black black."""
    levels = np.concatenate([[0.0], rng.uniform(0.1, 1, 5)])
    knots = np.concatenate([[0.0, 0.08], np.sort(rng.uniform(0.15, 0.95, 3)), [1.0]])
    curve = np.interp(np.linspace(0, 1, 256), knots, levels)
    curve = ndimage.gaussian_filter1d(curve, rng.uniform(2, 12), mode="nearest")
    curve -= curve[0]
    return np.clip(np.interp(picture, np.linspace(0, 1, 256), curve), 0, 1)


class Noises:
    """Noise fields (256, 256) of spread 1 whose amplitude falls with frequency by some power; shifted each time."""

    _SLOPES = (0.0, 0.5, 0.9, 1.3, 1.6, 1.9, 2.2, 2.6, 3.0)

    def __init__(self, rng: np.random.Generator) -> None:
        size = RESOLUTION_PX
        frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
        frequency[0, 0] = np.inf
        self._rng = rng
        self._fields = []
        for slope in self._SLOPES:
            spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-slope
            field = np.fft.irfft2(spectrum, s=(size, size))
            self._fields.append((field / field.std()).astype(np.float32))

    def drawn(self, low: float, high: float) -> np.ndarray:
        """Return a field whose slope lies near or between these."""
        slope = self._rng.uniform(low, high)
        field = self._fields[int(np.abs(np.subtract(self._SLOPES, slope)).argmin())]
        shift = self._rng.integers(0, RESOLUTION_PX, 2)
        return np.roll(field, (int(shift[0]), int(shift[1])), (0, 1))


def blob(rng: np.random.Generator, noises: Noises, pixels: np.ndarray) -> np.ndarray:
    """Return the signed distance (256, 256), in pixels, of a rough ellipse somewhere; negative inside."""
    r, c = rng.uniform(-0.4, 0.4, 2) * RESOLUTION_PX
    angle, long, short = (
        rng.uniform(0, np.pi),
        *rng.uniform(0.02, 0.5, 2) * RESOLUTION_PX * rng.uniform(0.3, 1),
    )
    u = (pixels[0] - r) * np.cos(angle) + (pixels[1] - c) * np.sin(angle)
    v = (pixels[1] - c) * np.cos(angle) - (pixels[0] - r) * np.sin(angle)
    distance = (np.hypot(u / long, v / short) - 1) * min(long, short)
    return np.asarray(distance + rng.uniform(0, 6) * noises.drawn(1.2, 2.2))


def scene(seed: int) -> np.ndarray:
    """Return one procedural picture (256, 256) uint8."""
    rng = np.random.default_rng([seed, 2])
    noises = Noises(rng)
    half = RESOLUTION_PX / 2
    pixels = (np.mgrid[:RESOLUTION_PX, :RESOLUTION_PX] - (half - 0.5)).astype(np.float32)
    outline = np.hypot(pixels[0] / rng.uniform(0.65, 0.98), pixels[1] / rng.uniform(0.5, 0.98)) - half
    body = outline + 0.05 * half * noises.drawn(1.9, 2.2)
    picture = np.where(body < 0, rng.uniform(0.2, 0.9), 0.0)
    for _ in range(rng.integers(0, 4)):  # skin, fat, bone: shells of the outline
        picture = np.where(body < -rng.uniform(2, 30), rng.uniform(0, 1), picture)
    leaves = rng.random() < 0.3
    for _ in range(rng.integers(60, 150) if leaves else rng.integers(4, 25)):
        organ = blob(rng, noises, pixels)
        texture = rng.uniform(0, 1) + np.zeros_like(picture)
        if rng.random() < 0.3:  # folds: level lines of smooth noise fill the organ
            folds = np.sin(rng.uniform(3, 15) * noises.drawn(1.6, 2.6))
            texture += rng.uniform(0.1, 0.4) * np.tanh(rng.uniform(1, 5) * folds)
        else:
            texture += rng.uniform(0, 0.12) * noises.drawn(0, 1.6)
        share = np.clip(0.5 - organ / rng.uniform(1, 4), 0, 1) * (body < 0)
        picture = picture + share * (texture - picture)
    picture = picture * np.exp(rng.uniform(0, 0.3) * noises.drawn(3, 3))
    picture = ndimage.gaussian_filter(picture, rng.uniform(0, 1.6))
    noise = rng.uniform(0, 0.04)
    return grey_levels(np.hypot(picture + noise * rng.standard_normal(picture.shape), noise))


def grey_levels(pictures: np.ndarray) -> np.ndarray:
    """Return pictures in [0, 1] as 8 bit."""
    return np.rint(np.clip(pictures, 0, 1) * 255).astype(np.uint8)


def main() -> None:
    """Read the arguments, make the pictures, write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", nargs="+", type=Path, required=True, help="folders of NIfTI scans")
    parser.add_argument("--dicom", nargs="*", type=Path, default=[], help="folders of one DICOM series each")
    parser.add_argument("--heads", type=int, default=N_HEADS)
    parser.add_argument("--scenes", type=int, default=N_SCENES)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    paths = sorted(path for folder in arguments.scans for path in folder.glob("*.nii*")) + arguments.dicom
    scans = np.concatenate([grey_levels(scan_slices(path, SLICES_PER_SCAN_AND_PLANE)) for path in paths])
    print(f"scans: {len(scans)} slices of {len(paths)} scans", flush=True)
    # Seeds that neither the demo nor the tests use, so that no phantom scan is known from training.
    with ProcessPoolExecutor(arguments.processes) as pool:
        heads = np.concatenate(list(pool.map(head_slices, range(900_000, 900_000 + arguments.heads))))
        print(f"heads: {len(heads)} slices", flush=True)
        scenes = np.stack(list(pool.map(scene, range(arguments.scenes), chunksize=8)))
        print(f"scenes: {len(scenes)}", flush=True)
    np.savez(arguments.out, scans=scans, heads=heads, scenes=scenes)


if __name__ == "__main__":
    main()
