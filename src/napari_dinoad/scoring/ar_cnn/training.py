"""Training the AR-CNN's network on batches of normal embeddings."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_dinoad.errors import ScorerError
from napari_dinoad.machine.sending import on_device
from napari_dinoad.progress import report
from napari_dinoad.scoring.ar_cnn.adamw import AdamW
from napari_dinoad.scoring.ar_cnn.network import make_network
from napari_dinoad.scoring.patches import (
    checked_embeddings,
    in_chunks,
    n_batches,
    seeded_generator,
    shuffled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_dinoad.progress import Progress
    from napari_dinoad.scoring.ar_cnn.network import PaperNetwork, RingsNetwork
    from napari_dinoad.settings import ArCnnSettings

__all__ = ["Census", "Training", "mean_errors", "squared_errors", "standardised", "take_census"]

MIN_SCALE = 1e-3
"""A channel's scale is at least this share of the largest: one that is constant but for rounding is not blown up."""

MIN_NORMAL_ERROR = 1e-2
"""A place's normal error is at least this share of the mean: one that never changes does not divide by nothing."""

LEAST_ERROR = 1e-12
"""No normal error is smaller, even of embeddings that are all the same."""

ACTIVATION_COPIES = 12
"""Copies of the input, in size, that a training step's intermediate results and gradients take."""


@dataclass(frozen=True)
class Census:
    """What one pass over the training maps tells.

    Attributes
    ----------
    n_maps : int
        Maps in all.
    grid : tuple of int
        (gh, gw).
    mean, scale : torch.Tensor
        (d,) float32: the embedding's mean and standard deviation, or 0 and 1 where they are not standardised.
    """

    n_maps: int
    grid: tuple[int, int]
    mean: torch.Tensor
    scale: torch.Tensor

    def to(self, device: torch.device) -> Census:
        """Return this census on ``device``."""
        return replace(self, mean=self.mean.to(device), scale=self.scale.to(device))


def take_census(
    batches: Iterable[torch.Tensor], standardise: bool, progress: Progress | None = None
) -> Census:
    """Count the maps, check them all, and measure each channel's mean and standard deviation in float64.

    Raises
    ------
    ScorerError
        If there is no map, or the maps differ in grid or channels, or hold NaN or infinity.
    """
    n_maps, grid = 0, (0, 0)
    total = squares = torch.zeros(0, dtype=torch.float64)
    for done, batch in enumerate(batches, start=1):
        maps = checked_embeddings(batch, len(total) or None).double()
        if n_maps == 0:
            grid = (maps.shape[1], maps.shape[2])
            total = squares = torch.zeros(maps.shape[-1], dtype=torch.float64)
        elif grid != tuple(maps.shape[1:3]):
            raise ScorerError(
                f"AR-CNN: expected one patch grid {grid} in all batches, got {tuple(maps.shape[1:3])}; "
                "give all slices the same resolution."
            )
        n_maps += len(maps)
        total = total + maps.sum((0, 1, 2))
        squares = squares + maps.square().sum((0, 1, 2))
        report(progress, "Measuring normal embeddings", done, n_batches(batches))
    if n_maps == 0:
        raise ScorerError("batches: expected at least one map of embeddings, got none; add normal scans.")
    if not standardise:
        return Census(n_maps, grid, torch.zeros(len(total)), torch.ones(len(total)))
    n_patches = n_maps * grid[0] * grid[1]
    mean = total / n_patches
    scale = (squares / n_patches - mean.square()).clamp_min(0).sqrt()
    largest = float(scale.max())
    # Differences of rounding size are no spread.
    constant = largest <= 1e-6 * float(mean.abs().max()) or largest == 0
    scale = torch.ones_like(scale) if constant else scale.clamp_min(MIN_SCALE * largest)
    return Census(n_maps, grid, mean.float(), scale.float())


def standardised(maps: torch.Tensor, census: Census) -> torch.Tensor:
    """Return maps (n, gh, gw, d) as (n, d, gh, gw) float32, each channel scaled; channels stay last in memory.

    The census is where the maps are.
    """
    return ((maps.float() - census.mean) / census.scale).permute(0, 3, 1, 2)


def squared_errors(network: RingsNetwork | PaperNetwork, maps: torch.Tensor) -> torch.Tensor:
    """Return the squared error of the prediction, mean over channels, (n, gh, gw), of maps (n, d, gh, gw)."""
    with torch.inference_mode():
        errors = [
            (network(chunk) - chunk).square().mean(1) for chunk in in_chunks(maps, 4 * 6 * maps[:1].numel())
        ]
        return torch.cat(errors).clone()


def mean_errors(
    network: RingsNetwork | PaperNetwork,
    batches: Iterable[torch.Tensor],
    census: Census,
    device: torch.device,
) -> tuple[torch.Tensor, int]:
    """Return the mean error (gh, gw) float64 at each place of the grid, and the number of maps."""
    total, n_maps = torch.zeros(census.grid, dtype=torch.float64), 0
    for batch in batches:
        maps = standardised(checked_embeddings(batch, len(census.mean), device), census)
        total = total + squared_errors(network, maps).cpu().double().sum(0)
        n_maps += len(maps)
    return total / max(1, n_maps), n_maps


def groups_of_maps(
    batches: Iterable[torch.Tensor], size: int, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Yield groups of ``size`` maps (the last may be smaller) from batches of any size, in random order.

    They stay where they are; those on a GPU are not looked at (see `checked_embeddings`).
    """
    waiting: list[torch.Tensor] = []
    n_waiting = 0
    for batch in shuffled(batches, generator):
        waiting.append(checked_embeddings(batch, device=batch.device).float())
        n_waiting += len(batch)
        if n_waiting >= size:
            maps = torch.cat(waiting)
            maps = maps[on_device(torch.randperm(len(maps), generator=generator), maps.device)]
            n_whole = len(maps) - len(maps) % size
            for first in range(0, n_whole, size):
                yield maps[first : first + size]
            waiting, n_waiting = [maps[n_whole:]], len(maps) - n_whole
    if n_waiting:
        yield torch.cat(waiting)


class Training:
    """A network in training: all that the next epoch depends on.

    Attributes
    ----------
    network, best : RingsNetwork or PaperNetwork
        As it is, and as it was after `best_epoch`.
    epoch : int
        Epochs done.
    finished : bool
        No further epoch is needed.
    history : dict of list of float
        ``"train_loss"`` and ``"validation_loss"``, one value an epoch.
    position_errors : torch.Tensor, optional
        (gh, gw) float32: the best network's mean normal error at each place.
    """

    def __init__(self, settings: ArCnnSettings, census: Census, device: torch.device) -> None:
        # Sent once: a GPU would be waited for each time.
        self.settings, self.census, self.device = settings, census.to(device), device
        network = make_network(settings, len(census.mean), census.grid, seeded_generator(settings.seed))
        self.network = network.to(device)
        self.optimiser = AdamW(self.network.parameters(), settings.weight_decay)
        self.best = copy.deepcopy(self.network)
        self.epoch = self.best_epoch = 0
        self.finished = False
        self.history: dict[str, list[float]] = {}
        self.position_errors: torch.Tensor | None = None

    def next_epoch(self, batches: Iterable[torch.Tensor], validation: Iterable[torch.Tensor] | None) -> None:
        """Train for an epoch, and keep the network if none before predicted the held-out maps better."""
        self._train(batches)
        if validation is not None:
            self.history.setdefault("validation_loss", []).append(self._validation_loss(validation))
        losses = self.history.get("validation_loss")
        if validation is None or losses is None or losses[-1] <= min(losses):
            self.best = copy.deepcopy(self.network)
            self.best_epoch = self.epoch
        stale = self.epoch - self.best_epoch >= self.settings.patience
        self.finished = stale or self.epoch >= self.settings.epochs
        if self.finished and self.settings.normalise_positions:
            errors, _ = mean_errors(self.best, batches, self.census, self.device)
            floor = max(MIN_NORMAL_ERROR * float(errors.mean()), LEAST_ERROR)
            self.position_errors = errors.clamp_min(floor).float().to(self.device)

    def _train(self, batches: Iterable[torch.Tensor]) -> None:
        """One pass over the maps, in an order and with noise that depend on the seed and the epoch alone."""
        settings = self.settings
        generator = seeded_generator(settings.seed, self.epoch + 1)
        n_steps = math.ceil(self.census.n_maps / settings.batch_maps)
        losses, shares, n_maps = [], [], 0
        # cuDNN chooses its kernels by racing them unless told otherwise.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            for step, maps in enumerate(groups_of_maps(batches, settings.batch_maps, generator)):
                share_done = (self.epoch + step / n_steps) / settings.epochs
                rate = settings.learning_rate * self._schedule(share_done)
                of_step = self._step(standardised(maps.to(self.device), self.census), rate, generator)
                losses += of_step
                shares += [len(maps)] * len(of_step)
                n_maps += len(maps)
        # Read once an epoch: a GPU is waited for.
        read = torch.stack(losses).tolist() if losses else []
        total = sum(loss * share for loss, share in zip(read, shares, strict=True))
        if n_maps != self.census.n_maps:
            raise ScorerError(
                f"batches: expected the same {self.census.n_maps} maps in every pass, got {n_maps}; "
                "do not change the data during a fit, and resume with the data it began with."
            )
        if not math.isfinite(total):
            raise ScorerError(
                f"AR-CNN: expected a finite training loss, got {total}; lower the learning rate "
                f"({settings.learning_rate}) or standardise the embeddings."
            )
        self.epoch += 1
        self.history.setdefault("train_loss", []).append(total / n_maps)

    def _schedule(self, done: float) -> float:
        """Return the share of the peak learning rate when a share ``done`` of all steps is done."""
        warmup = self.settings.warmup_fraction
        if done < warmup:
            return max(done / warmup, 0.02)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))

    def _step(
        self, maps: torch.Tensor, learning_rate: float, generator: torch.Generator
    ) -> list[torch.Tensor]:
        """Take a step; return the losses, float32 scalars where the maps are, whose sum is that of the step."""
        noisy = self._with_noise(maps, generator)
        losses = []
        self.optimiser.zero_grad()
        # Gradients add up over chunks, so memory stays bounded whatever the batch.
        per_map = 4 * ACTIVATION_COPIES * maps[:1].numel()
        for target, source in zip(in_chunks(maps, per_map), in_chunks(noisy, per_map), strict=True):
            loss = functional.mse_loss(self.network(source), target) * (len(target) / len(maps))
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimiser.step(learning_rate)
        return losses

    def _with_noise(self, maps: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the maps, some with noise of a share of each channel's standard deviation in that map."""
        settings = self.settings
        chosen = torch.rand(len(maps), generator=generator) < settings.noise_probability
        if not bool(chosen.any()) or settings.noise_scale == 0:
            return maps
        # As places, not as a mask: a GPU is waited for neither for these nor for the noise.
        places = on_device(chosen.nonzero().squeeze(1), maps.device)
        some = maps[places]
        noise = on_device(torch.randn(some.shape, generator=generator), maps.device)
        spread = some.std((2, 3), keepdim=True, correction=0)
        # Not by `index_copy`, which PyTorch 2.6 lacks on MPS.
        return maps.index_put((places,), some + settings.noise_scale * spread * noise)

    def _validation_loss(self, validation: Iterable[torch.Tensor]) -> float:
        errors, n_maps = mean_errors(self.network, validation, self.census, self.device)
        if n_maps == 0:
            raise ScorerError("validation: expected at least one map, got none; leave it out instead.")
        return float(errors.mean())
