"""What scoring one slice costs, as a share of the backbone's own forward pass, in one run.

    python benchmarks/scoring_cost.py [--threads 2] [--repeats 15] [--json]

The backbone is a ViT-S/14 at 448 px with random weights (its cost does not depend on them); the scorers score its
32×32×384 embeddings. Every figure is the least of several interleaved runs, so that other work on the machine counts
against none of them. Scorers are rebuilt from random states of full size: what they score does not matter here.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import timm
import torch

from napari_dinoad.scoring import make_scorer
from napari_dinoad.settings import ArCnnSettings, DpmmSettings, MemoryBankSettings

if TYPE_CHECKING:
    from collections.abc import Callable

GRID, CHANNELS = (32, 32), 384


def clustered_maps(n_maps: int, n_clusters: int, seed: int) -> torch.Tensor:
    """Return maps whose patches lie around ``n_clusters`` centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n_clusters, CHANNELS, generator=generator)
    labels = torch.randint(0, n_clusters, (n_maps, *GRID), generator=generator)
    return centres[labels] + 0.7 * torch.randn(n_maps, *GRID, CHANNELS, generator=generator)


def scorings() -> dict[str, Callable[[], object]]:
    """Return one call that scores a slice for each scorer and mode, after a short fit."""
    train, slice_ = [clustered_maps(14, 700, seed=0)], clustered_maps(1, 700, seed=0)[:1]
    calls: dict[str, Callable[[], object]] = {}
    dpmm = DpmmSettings(epochs=2, merge=False)
    for covariance in ("diag", "spherical"):
        fitted = make_scorer(replace(dpmm, covariance=covariance)).fit(train)
        state = fitted.state()
        for mode in ("cosine", "negative-log-likelihood", "mahalanobis"):
            settings = {**state.settings["settings"], "score": mode}
            scorer = type(fitted).from_state(
                replace(state, settings={**state.settings, "settings": settings})
            )
            calls[f"dpmm {covariance} {mode} (K = {dpmm.n_components})"] = lambda s=scorer: s.score(slice_)
    one_epoch = ArCnnSettings(epochs=1)
    networks = {
        "ar-cnn (default, two-sided)": one_epoch,
        "ar-cnn causal": replace(one_epoch, context="causal"),
        "ar-cnn paper, causal": replace(one_epoch, network="paper", dilations=(4,), context="causal"),
        "ar-cnn paper, two-sided": replace(one_epoch, network="paper", dilations=(4,)),
    }
    for name, settings in networks.items():
        scorer = make_scorer(settings).fit([train[0][:2]])
        calls[name] = lambda s=scorer: s.score(slice_)
    for n_neighbours in (1, 3):
        chosen = MemoryBankSettings(reduction="random", n_neighbours=n_neighbours)
        scorer = make_scorer(chosen).fit(train)
        calls[f"memory bank of 10,000, k = {n_neighbours}"] = lambda s=scorer: s.score(slice_)
    return calls


def backbone_forward() -> Callable[[], object]:
    """Return one call of the backbone on one slice."""
    backbone = timm.create_model("vit_small_patch14_dinov2.lvd142m", pretrained=False, img_size=448).eval()
    image = torch.rand(1, 3, 448, 448)

    def forward() -> object:
        with torch.inference_mode():
            return backbone.forward_features(image)

    return forward


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    calls = {"backbone": backbone_forward(), **scorings()}
    seconds = dict.fromkeys(calls, float("inf"))
    for repeat in range(arguments.repeats + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if repeat:  # the first is for warming up
                seconds[name] = min(seconds[name], time.perf_counter() - begin)
    shares = {name: value / seconds["backbone"] for name, value in seconds.items()}
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "seconds": seconds, "share_of_backbone": shares}))
        return
    print(f"{arguments.threads} threads, least of {arguments.repeats}")
    for name, value in seconds.items():
        print(f"{name:45s} {1000 * value:8.2f} ms  {100 * shares[name]:6.2f} %")


if __name__ == "__main__":
    main()
