"""How the embedded backbone finds lesions in pictures in colour, and how its colour features were chosen.

    python benchmarks/detection_colour.py scorers [--scorers memory-bank dpmm ar-cnn] [--seeds 10 11]
    python benchmarks/detection_colour.py embeddings [--seeds 0 1]

Procedural pictures (``tools/coloured_pictures.py``): of each kind 30 normal ones, and four with a lesion of each
sort, of another hue at the same luminance, paler, more saturated, brighter, darker, smoother, of another texture.
Printed is the mean over kinds and seeds of the average precision of patches (a patch is of the lesion where more than
half of it is), in percent; about 3 % of the patches are. ``scorers``: the package's own path, grey and in colour.
``embeddings``: all normal patches as a memory bank, for several ways of seeing colours.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad import preset
from napari_dinoad.backbones import load_backbone
from napari_dinoad.backbones.embedded.backbone import embedded_constants, log_features
from napari_dinoad.backbones.embedded.colour import colour_constants, colour_features, opponents, to_luma
from napari_dinoad.evaluation import average_precision
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.images.values.grey import to_grey
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.scoring import make_scorer
from napari_dinoad.settings import ArCnnSettings, DpmmSettings, MemoryBankSettings

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from coloured_pictures import KINDS, LESIONS, eight_bits, picture, with_lesion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_NORMAL = 30
N_ABNORMAL = 4
CELL_PX = 16
BATCH = 8
SCORERS = {
    "memory-bank": MemoryBankSettings(),
    "dpmm": DpmmSettings(n_components=100),
    "ar-cnn": ArCnnSettings(epochs=12),
}


def pictures(seed: int) -> Iterator[tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Yield of each kind normal pictures (n, H, W, 3), and by lesion pictures with where it is (n, H, W)."""
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        normal = np.stack([eight_bits(picture(kind, rng)) for _ in range(N_NORMAL)])
        found = {}
        for lesion in LESIONS:
            made = [with_lesion(picture(kind, rng), lesion, rng) for _ in range(N_ABNORMAL)]
            found[lesion] = eight_bits(np.stack([one for one, _ in made])), np.stack([w for _, w in made])
        yield normal, found


def of_patches(where: np.ndarray) -> np.ndarray:
    """Return which patches (n · gh · gw) lie in a lesion."""
    n, height, width = where.shape
    parts = where.reshape(n, height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX)
    return np.asarray(parts.mean((2, 4)) > 0.5).ravel()


def told(title: str, found: dict[str, list[float]]) -> None:
    """Print a row."""
    means = [100 * float(np.mean(found[lesion])) for lesion in LESIONS]
    print(f"{title:28}", *(f"{mean:10.1f}" for mean in means), f"{np.mean(means):10.1f}", flush=True)


def compare_scorers(names: list[str], seeds: list[int]) -> None:
    """Print what scorers find with grey and with colours."""
    backbone = load_backbone("embedded", device="cpu")
    table: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def embedded(stack: np.ndarray, name: str) -> torch.Tensor:
        settings = replace(preset(name), body_mask="off")
        parts = []
        for pixels in stack:
            geometry = Geometry.of_pixels(pixels.shape[:2])
            volume = Volume(to_grey(pixels)[None], geometry, "picture", None, 255.0, colours=pixels[None])
            scan = prepare_scan(volume, settings, backbone.default_resolution_px)
            parts.append(backbone(scan.images([0])).values)
        return torch.cat(parts)

    for seed in seeds:
        for normal, found in pictures(seed):
            for seen in ("image-2d", "image-colour"):
                batches = embedded(normal, seen).split(BATCH)
                patients = {lesion: embedded(stack, seen) for lesion, (stack, _) in found.items()}
                for name in names:
                    scorer = make_scorer(SCORERS[name])
                    scorer.fit(batches)
                    for lesion, embeddings in patients.items():
                        scores = scorer.score(embeddings).numpy().ravel()
                        truth = of_patches(found[lesion][1])
                        table[name, seen][lesion].append(average_precision(scores, truth))
    for (name, seen), by_lesion in table.items():
        told(f"{name}, {seen}", by_lesion)


def ways_of_seeing() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return features of pictures (n, 3, H, W) before unit length, by name."""
    constants, of_colour = embedded_constants(), colour_constants()
    plan, offset = constants.plan, constants.log_offset
    mean, std = torch.tensor(constants.mean), torch.tensor(constants.std)
    colour_mean, colour_std = torch.tensor(of_colour.mean), torch.tensor(of_colour.std)
    n_means, n_opponent = len(plan.image_sigmas_px), len(of_colour.mean) // 2
    is_mean = torch.arange(len(of_colour.mean)) % n_opponent < n_means

    def grey(images: torch.Tensor) -> torch.Tensor:
        return (log_features(to_luma(images), plan, offset) - mean) / std

    def channels(images: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [(log_features(c.contiguous(), plan, offset) - mean) / std for c in images.unbind(1)], -1
        )

    def all_of_opponents(images: torch.Tensor) -> torch.Tensor:
        parts = [grey(images)]
        for channel in opponents(images).unbind(1):
            features = (log_features(channel.contiguous(), plan, offset) - mean) / std
            means = log_features(channel.contiguous(), plan, offset)[..., -n_means:] / 0.07
            parts += [features[..., :-n_means], means]
        return torch.cat(parts, -1)

    def opponent(unit: float, weight: float) -> Callable[[torch.Tensor], torch.Tensor]:
        def seen(images: torch.Tensor) -> torch.Tensor:
            features = (colour_features(images, plan, offset) - colour_mean) / colour_std
            of_means = features[..., is_mean] * (0.07 / unit)
            parts = [grey(images), of_means, weight * features[..., ~is_mean]]
            return torch.cat(parts if weight else parts[:2], -1)

        return seen

    return {
        "grey (51)": grey,
        "red, green, blue (153)": channels,
        "all of opponents (153)": all_of_opponents,
        "means, unit 0.05 (57)": opponent(0.05, 0),
        "means, unit 0.1 (57)": opponent(0.1, 0),
        "and texture, 0.05 (73)": opponent(0.05, 1),
        "and texture, 0.07 (73)": opponent(0.07, 1),
        "and texture, 0.1 (73)": opponent(0.1, 1),
        "texture half, 0.07 (73)": opponent(0.07, 0.5),
    }


def compare_embeddings(seeds: list[int]) -> None:
    """Print what a memory bank of all normal patches finds, by the way of seeing colours."""
    ways = ways_of_seeing()
    table: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def embedded(stack: np.ndarray, name: str) -> torch.Tensor:
        images = torch.from_numpy(stack.astype(np.float32) / 255).movedim(-1, 1)
        features = torch.cat([ways[name](batch).flatten(0, 2) for batch in images.split(BATCH)])
        return torch.nn.functional.normalize(features, dim=-1)

    for seed in seeds:
        for normal, found in pictures(seed):
            for name in ways:
                bank = embedded(normal, name)
                for lesion, (stack, where) in found.items():
                    nearest = (embedded(stack, name) @ bank.T).amax(1)
                    table[name][lesion].append(average_precision((1 - nearest).numpy(), of_patches(where)))
    for name, by_lesion in table.items():
        told(name, by_lesion)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("scorers", "embeddings"))
    parser.add_argument("--scorers", nargs="+", choices=tuple(SCORERS), default=[*SCORERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    arguments = parser.parse_args()
    print(f"{'':28}", *(f"{lesion:>10}" for lesion in (*LESIONS, "mean")))
    with torch.inference_mode(arguments.what == "embeddings"):
        if arguments.what == "scorers":
            compare_scorers(arguments.scorers, arguments.seeds)
        else:
            compare_embeddings(arguments.seeds)


if __name__ == "__main__":
    main()
