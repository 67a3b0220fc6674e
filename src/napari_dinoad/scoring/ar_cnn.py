"""The autoregressive CNN scorer (Erdil, Schulthess, Tombak and Konukoglu, arXiv 2603.02974)."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch.nn import functional

from napari_dinoad.errors import ScorerError
from napari_dinoad.progress import report
from napari_dinoad.scoring.ar_cnn_network import PaperNetwork, RingsNetwork, make_network
from napari_dinoad.scoring.patches import (
    checked_embeddings,
    in_chunks,
    n_batches,
    require_reiterable,
    seeded_generator,
    shuffled,
)
from napari_dinoad.scoring.protocol import ScorerState
from napari_dinoad.scoring.saved_state import require_scorer, saved_settings, saved_tensor, saved_value
from napari_dinoad.settings import ArCnnSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_dinoad.progress import Progress

__all__ = ["ArCnnScorer"]

MIN_SCALE = 1e-6
"""A channel whose standard deviation is below this share of the largest is constant: it is not blown up."""


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


def take_census(
    batches: Iterable[torch.Tensor], standardise: bool, progress: Progress | None = None
) -> Census:
    """Count the maps, check them all, and measure each channel's mean and standard deviation in float64."""
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
    scale = scale.clamp_min(MIN_SCALE * largest) if largest > 0 else torch.ones_like(scale)
    return Census(n_maps, grid, mean.float(), scale.float())


def _groups(batches: Iterable[torch.Tensor], size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield groups of ``size`` maps (the last may be smaller) from batches of any size, in random order."""
    waiting: list[torch.Tensor] = []
    n_waiting = 0
    for batch in shuffled(batches, generator):
        waiting.append(checked_embeddings(batch).float())
        n_waiting += len(batch)
        if n_waiting >= size:
            maps = torch.cat(waiting)
            maps = maps[torch.randperm(len(maps), generator=generator)]
            n_whole = len(maps) - len(maps) % size
            for first in range(0, n_whole, size):
                yield maps[first : first + size]
            waiting, n_waiting = [maps[n_whole:]], len(maps) - n_whole
    if n_waiting:
        yield torch.cat(waiting)


class _Training:
    """A network in training: everything that the next epoch depends on."""

    def __init__(self, settings: ArCnnSettings, census: Census, device: torch.device) -> None:
        self.settings, self.census, self.device = settings, census, device
        n_channels = len(census.mean)
        self.network = make_network(settings, n_channels, seeded_generator(settings.seed)).to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.mean, self.scale = census.mean.to(device), census.scale.to(device)
        self.best = copy.deepcopy(self.network)
        self.best_epoch = 0
        self.epoch = 0
        self.finished = False
        self.history: dict[str, list[float]] = {}

    def run_epoch(self, batches: Iterable[torch.Tensor]) -> None:
        """One pass over the maps in an order, and with noise, that depend on the seed and the epoch alone."""
        settings = self.settings
        generator = seeded_generator(settings.seed, self.epoch + 1)
        n_steps = math.ceil(self.census.n_maps / settings.batch_maps)
        total, n_maps = 0.0, 0
        self.network.train()
        for step, maps in enumerate(_groups(batches, settings.batch_maps, generator)):
            rate = settings.learning_rate * self._schedule((self.epoch + step / n_steps) / settings.epochs)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            total += self._step(standardised(maps.to(self.device), self.mean, self.scale), generator) * len(
                maps
            )
            n_maps += len(maps)
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

    def _step(self, maps: torch.Tensor, generator: torch.Generator) -> float:
        noisy = self._with_noise(maps, generator)
        total = 0.0
        self.optimiser.zero_grad()
        # Gradients add up over chunks: memory stays bounded whatever the batch.
        per_map = maps[0].numel() * 4 * 12
        for target, source in zip(in_chunks(maps, per_map), in_chunks(noisy, per_map), strict=True):
            loss = functional.mse_loss(self.network(source), target) * (len(target) / len(maps))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        return total

    def _with_noise(self, maps: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        settings = self.settings
        chosen = torch.rand(len(maps), generator=generator) < settings.noise_probability
        if not bool(chosen.any()) or settings.noise_scale == 0:
            return maps
        noisy = maps.clone()
        some = maps[chosen]
        noise = torch.randn(some.shape, generator=generator).to(maps.device)
        spread = some.std((2, 3), keepdim=True, correction=0)
        noisy[chosen] = some + settings.noise_scale * spread * noise
        return noisy

    def choose(self, validation: Iterable[torch.Tensor] | None) -> None:
        """Keep this epoch's network if none before predicted the held-out maps better."""
        losses = self.history.setdefault("validation_loss", []) if validation is not None else []
        if validation is not None:
            losses.append(self._validation_loss(validation))
        if validation is None or losses[-1] <= min(losses):
            self.best = copy.deepcopy(self.network)
            self.best_epoch = self.epoch
        stale = self.epoch - self.best_epoch >= self.settings.patience
        self.finished = stale or self.epoch >= self.settings.epochs

    def _validation_loss(self, validation: Iterable[torch.Tensor]) -> float:
        total, n_maps = 0.0, 0
        for batch in validation:
            maps = standardised(checked_embeddings(batch, len(self.mean), self.device), self.mean, self.scale)
            total += float(squared_errors(self.network, maps).double().mean()) * len(maps)
            n_maps += len(maps)
        if n_maps == 0:
            raise ScorerError("validation: expected at least one map, got none; leave it out instead.")
        return total / n_maps


def standardised(maps: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return maps (n, gh, gw, d) as (n, d, gh, gw) float32, each channel scaled; channels stay last in memory."""
    return ((maps.float() - mean) / scale).permute(0, 3, 1, 2)


def squared_errors(network: RingsNetwork | PaperNetwork, maps: torch.Tensor) -> torch.Tensor:
    """Return the squared error of the prediction, mean over channels, (n, gh, gw), of maps (n, d, gh, gw)."""
    network.eval()
    chunks = in_chunks(maps, maps.shape[1] * maps.shape[2] * maps.shape[3] * 4 * 6)
    with torch.inference_mode():
        errors = [(network(chunk) - chunk).square().mean(1) for chunk in chunks]
    return torch.cat(errors)


class ArCnnScorer:
    """How badly a patch is predicted from the patches around it.

    Parameters
    ----------
    settings : ArCnnSettings, optional
        Defaults if left out.
    device : str or torch.device
        Where it computes.
    """

    name: ClassVar[str] = "ar-cnn"

    def __init__(self, settings: ArCnnSettings | None = None, *, device: str | torch.device = "cpu") -> None:
        self.settings = settings or ArCnnSettings()
        self.device = torch.device(device)
        self._network: RingsNetwork | PaperNetwork | None = None
        self._census: Census | None = None
        self._position_errors: torch.Tensor | None = None
        self._training: _Training | None = None
        self._summary: dict[str, int] = {}
        self._history: dict[str, list[float]] = {}

    def fit(
        self,
        batches: Iterable[torch.Tensor],
        *,
        validation: Iterable[torch.Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Callable[[ScorerState], None] | None = None,
    ) -> Self:
        """Train on normal embeddings; a scorer rebuilt from the state of an unfinished fit continues it.

        Parameters
        ----------
        batches : iterable of torch.Tensor
            Re-iterable; each item is (n, gh, gw, d) float, all of one grid. Where it can be indexed, its batches are
            read in random order.
        validation : iterable of torch.Tensor, optional
            Normal embeddings of held-out scans: the epoch that predicts them best is kept. Without them, the last.
        progress : callable, optional
            Called after each epoch; may raise `Cancelled`.
        checkpoint : callable, optional
            Called with the state after each epoch.

        Raises
        ------
        ScorerError
            If there is nothing to fit on, an embedding is NaN or infinite, or the training diverges.
        """
        require_reiterable(batches)
        settings = self.settings
        if self._training is None:
            census = take_census(batches, settings.standardise, progress)
            self._training = _Training(settings, census, self.device)
        training = self._training
        while not training.finished:
            training.run_epoch(batches)
            training.choose(validation)
            self._take(training)
            if training.finished and settings.normalise_positions:
                self._position_errors = self._mean_errors(batches)
            if checkpoint is not None:
                checkpoint(self.state())
            latest = {name: values[-1] for name, values in training.history.items()}
            report(progress, "Training AR-CNN", training.epoch, settings.epochs, metrics=latest)
        # A finished fit is not continued: the next call starts afresh.
        self._training = None
        return self

    def _take(self, training: _Training) -> None:
        self._network, self._census = training.best, training.census
        self._position_errors = None
        self._summary = {"epochs_done": training.epoch, "best_epoch": training.best_epoch}
        self._history = {name: list(values) for name, values in training.history.items()}

    def _mean_errors(self, batches: Iterable[torch.Tensor]) -> torch.Tensor:
        """Return the mean error (gh, gw) of normal patches at each place of the grid."""
        total, n_maps = torch.zeros(0), 0
        for batch in batches:
            errors = self._errors(batch).double().sum(0)
            total = errors if n_maps == 0 else total + errors
            n_maps += len(batch)
        mean = total / n_maps
        # A place that is always the same (outside the body) must not divide by next to nothing.
        return mean.clamp_min(1e-3 * float(mean.mean()) + torch.finfo(torch.float32).tiny).float()

    def _fitted(self) -> tuple[RingsNetwork | PaperNetwork, Census]:
        if self._network is None or self._census is None:
            raise ScorerError("AR-CNN: expected a fitted scorer, got one without a network; call fit first.")
        return self._network, self._census

    def _errors(self, embeddings: torch.Tensor) -> torch.Tensor:
        network, census = self._fitted()
        maps = checked_embeddings(embeddings, len(census.mean), self.device)
        mean, scale = census.mean.to(self.device), census.scale.to(self.device)
        return squared_errors(network, standardised(maps, mean, scale))

    def score(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores (n, gh, gw) float32: the squared prediction error, mean over channels.

        Any grid will do. With ``normalise_positions`` the error is divided by the normal one at that place, resized
        to another grid where needed.

        Raises
        ------
        ScorerError
            Before `fit`, or if the channels differ from the fit's or a value is NaN or infinite.
        """
        errors = self._errors(embeddings)
        table = self._position_errors
        if table is None:
            return errors
        table = table.to(errors.device)
        if table.shape != errors.shape[1:]:
            size = errors.shape[1:]
            table = functional.interpolate(table[None, None], size, mode="bilinear", align_corners=False)[
                0, 0
            ]
        return errors / table

    # -- state ---------------------------------------------------------------------------------------------

    def state(self) -> ScorerState:
        """Return all that `from_state` needs; during a fit also all that it needs to continue."""
        network, census = self._fitted()
        training = self._training
        unfinished = training is not None and not training.finished
        values: dict[str, Any] = {
            "settings": asdict(self.settings),
            **self._summary,
            "n_maps": census.n_maps,
            "grid_height": census.grid[0],
            "grid_width": census.grid[1],
            "finished": not unfinished,
        }
        tensors = {"channel_mean": census.mean, "channel_scale": census.scale}
        tensors |= {f"network.{key}": value for key, value in network.state_dict().items()}
        if self._position_errors is not None:
            tensors["position_errors"] = self._position_errors
        if training is not None and unfinished:
            tensors |= {f"current.{key}": value for key, value in training.network.state_dict().items()}
            for name, parameter in training.network.named_parameters():
                moments = training.optimiser.state[parameter]
                tensors |= {f"optimiser.{key}.{name}": moments[key] for key in _MOMENTS}
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        return ScorerState(self.name, values, tensors, {k: list(v) for k, v in self._history.items()})

    @classmethod
    def from_state(cls, state: ScorerState, *, device: str | torch.device = "cpu") -> Self:
        """Rebuild a scorer; one of an unfinished fit scores with its best epoch so far and continues with `fit`.

        Raises
        ------
        ModelFileError
            If a tensor or value is missing or has the wrong shape.
        """
        require_scorer(state, cls.name)
        settings = saved_settings(state, ArCnnSettings)
        scorer = cls(settings, device=device)
        mean = saved_tensor(state, "channel_mean", (None,), torch.float32)
        scale = saved_tensor(state, "channel_scale", (len(mean),), torch.float32)
        grid = (saved_value(state, "grid_height", int), saved_value(state, "grid_width", int))
        census = Census(saved_value(state, "n_maps", int), grid, mean, scale)
        training = _Training(settings, census, scorer.device)
        training.best.load_state_dict(_saved_network(state, "network.", training.best))
        training.epoch = saved_value(state, "epochs_done", int)
        training.best_epoch = saved_value(state, "best_epoch", int)
        training.history = {name: [float(v) for v in values] for name, values in state.history.items()}
        scorer._take(training)
        if "position_errors" in state.tensors:
            scorer._position_errors = saved_tensor(state, "position_errors", grid, torch.float32)
        if not saved_value(state, "finished", bool):
            training.network.load_state_dict(_saved_network(state, "current.", training.network))
            for name, parameter in training.network.named_parameters():
                shapes = {"step": (), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
                training.optimiser.state[parameter] = {
                    key: saved_tensor(state, f"optimiser.{key}.{name}", shapes[key], torch.float32).to(
                        "cpu" if key == "step" else scorer.device
                    )
                    for key in _MOMENTS
                }
            scorer._training = training
        return scorer


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _saved_network(
    state: ScorerState, prefix: str, network: RingsNetwork | PaperNetwork
) -> dict[str, torch.Tensor]:
    return {
        key: saved_tensor(state, prefix + key, tuple(value.shape), torch.float32)
        for key, value in network.state_dict().items()
    }
