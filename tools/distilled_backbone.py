"""Embeddings of the small network, alone or beside the wavelet scattering, as `detection_brain_mr.py` reads them.

    python tools/distilled_backbone.py --network network.safetensors --pool pool.npz --data FOLDER --out CACHE.npz
        [--with-scattering]

Writes the cache file of ``benchmarks/detection_brain_mr.py --cache``; measure with that. Channels are centred and
scaled by their mean and spread over tissue patches of the scans that the network was trained on, as those of the
scattering are by its constants: embeddings are compared by direction, so it matters where they are seen from. Side by
side, each of the two has unit length.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from distilled_network import SmallVit, load_network
from embedded_constants import RESOLUTION_PX, TISSUE_BRIGHTNESS
from napari_dinoad.backbones import load_backbone
from napari_dinoad.backbones.embeddings import PatchEmbeddings

if TYPE_CHECKING:
    from napari_dinoad.backbones.embedded.backbone import EmbeddedBackbone

N_CALIBRATING = 300
BATCH = 16


class DistilledBackbone:
    """The network as a backbone: grey slices (n, H, W) in [0, 1] → patch embeddings of unit length.

    Parameters
    ----------
    network : Path
    scans : numpy.ndarray
        (n, 256, 256) uint8 slices whose tissue sets mean and spread of each channel.
    beside : EmbeddedBackbone, optional
        Put beside it.
    """

    def __init__(self, network: Path, scans: np.ndarray, beside: EmbeddedBackbone | None = None) -> None:
        self._network = load_network(network)
        self._beside = beside
        self.default_resolution_px = RESOLUTION_PX
        chosen = scans[np.linspace(0, len(scans) - 1, N_CALIBRATING).astype(int)]
        images = torch.from_numpy(chosen).float() / 255
        tokens = torch.cat([self._tokens(batch) for batch in images.split(BATCH)])
        brightness = torch.nn.functional.avg_pool2d(images[:, None], SmallVit.patch_px)[:, 0]
        tissue = tokens[brightness > TISSUE_BRIGHTNESS]
        self._mean, self._std = tissue.mean(0), tissue.std(0)

    @torch.inference_mode()
    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(images), 4)
        return self._network(images, whole)[1]

    def __call__(self, images: np.ndarray | torch.Tensor) -> PatchEmbeddings:
        """Embed slices."""
        images = torch.as_tensor(images)
        own = torch.nn.functional.normalize((self._tokens(images) - self._mean) / self._std, dim=-1)
        if self._beside is not None:
            own = torch.cat([own, self._beside(images).values], -1) / 2**0.5
        return PatchEmbeddings(own, SmallVit.patch_px)


def main() -> None:
    """Read the arguments, embed, write."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import detection_brain_mr as benchmark

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--with-scattering", action="store_true")
    arguments = parser.parse_args()
    with np.load(arguments.pool) as pool:
        scans = pool["scans"]
    scattering = load_backbone("embedded") if arguments.with_scattering else None
    backbone = DistilledBackbone(arguments.network, scans, scattering)
    image = torch.rand(1, RESOLUTION_PX, RESOLUTION_PX)
    begin = time.perf_counter()
    for _ in range(20):
        backbone(image)
    print(f"{50 * (time.perf_counter() - begin):.1f} ms a slice, {torch.get_num_threads()} threads")
    benchmark.save_data(arguments.out, benchmark.read_data(arguments.data, backbone, RESOLUTION_PX))


if __name__ == "__main__":
    main()
