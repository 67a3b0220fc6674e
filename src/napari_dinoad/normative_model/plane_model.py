"""The scorers that look at one plane of a scan, with their calibrations, and how they lie in a model file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_dinoad.calibration import Calibration, fused_scores
from napari_dinoad.normative_model.held_out_patches import HeldOutPatches
from napari_dinoad.normative_model.slice_levels import SliceLevels, told_by_all
from napari_dinoad.scoring import scorer_from_state
from napari_dinoad.scoring.protocol import Scorer, ScorerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from napari_dinoad.settings import Plane

__all__ = ["Member", "PlaneModel", "store_calibration", "store_plane", "stored_calibration", "stored_plane"]

_ALONE = "alone."
"""Prefix of the calibrations of slices scored each for itself."""

_PATCHES = "patches."
"""Prefix of the held-out patches that are kept."""

_NOT_OF_SCORER = ("calibration.", _ALONE)
"""Prefixes, among a scorer's tensors, of those that are not its own."""


@dataclass(frozen=True, eq=False)
class Member:
    """A fitted scorer and the distribution of its raw scores over normal voxels."""

    scorer: Scorer
    calibration: Calibration


@dataclass(frozen=True, eq=False)
class PlaneModel:
    """The scorers that look at the slices of one plane, side by side.

    Attributes
    ----------
    plane : str
        Slicing direction; see `PreprocessingSettings.plane`.
    members : tuple of Member
        One or more, in the order of `SCORER_NAMES`.
    calibration : Calibration
        Of the members' fused score; with one member its own.
    alone : PlaneModel, optional
        The same scorers calibrated on slices scored each for itself, where the calibrations here are of scores
        averaged across slices; None where nothing was averaged.
    noise_share : float
        What averaging left of the noise in the normal scans; see `SliceSmoothing.noise_share`.
    levels : tuple of SliceLevels
        The averaged scores of a slice are divided by its level. A merged model has those of each of its parts, which
        are combined (see `told_by_all`); where there are none, scores are not divided.
    patches : HeldOutPatches, optional
        Of a plane that can be merged with others; None: none are kept.
    """

    plane: Plane
    members: tuple[Member, ...]
    calibration: Calibration
    alone: PlaneModel | None = None
    noise_share: float = 1.0
    levels: tuple[SliceLevels, ...] = ()
    patches: HeldOutPatches | None = None

    @property
    def for_single_slices(self) -> PlaneModel:
        """The plane as it is to score slices that are not averaged with their neighbours."""
        return self.alone or self

    def on_device(self, device: torch.device) -> PlaneModel:
        """Return the plane with scorers that compute on ``device``."""
        scorers = [_on_device(member.scorer, device) for member in self.members]
        alone = None if self.alone is None else self.alone._with(scorers)
        levels = tuple(levels.on_device(device) for levels in self.levels)
        return replace(self._with(scorers), alone=alone, levels=levels)

    def _with(self, scorers: Sequence[Scorer]) -> PlaneModel:
        pairs = zip(self.members, scorers, strict=True)
        return replace(self, members=tuple(replace(member, scorer=scorer) for member, scorer in pairs))

    def usual_levels(self, looks: torch.Tensor) -> torch.Tensor:
        """Return what the averaged scores of slices with these looks (n, k) are divided by, (members, n) float32."""
        return told_by_all(self.levels, looks)

    def raw_scores(self, member_scores: Sequence[np.ndarray]) -> np.ndarray:
        """Return the plane's raw score at each voxel of the members' raw scores there; see `fused_scores`."""
        return fused_scores(member_scores, [member.calibration for member in self.members])


def _on_device(scorer: Scorer, device: torch.device) -> Scorer:
    return scorer if scorer.device == device else scorer_from_state(scorer.state(), device)


def store_calibration(
    calibration: Calibration, prefix: str, tensors: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """Add a calibration's arrays to ``tensors`` and return the rest of it as JSON values."""
    for name, array in calibration.arrays().items():
        tensors[f"{prefix}calibration.{name}"] = torch.from_numpy(array.copy())
    return calibration.counts()


def store_plane(plane: PlaneModel, has_own: bool, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Add a plane's tensors to ``tensors`` and return the rest of it as JSON values.

    A part that is alone has its whole's calibration, which is not stored twice.
    """
    members = []
    for member in plane.members:
        state = member.scorer.state()
        prefix = f"{plane.plane}.{state.name}."
        tensors.update({f"{prefix}{name}": t.contiguous().cpu() for name, t in state.tensors.items()})
        entry = state.document()
        if len(plane.members) > 1:
            entry["calibration"] = store_calibration(member.calibration, prefix, tensors)
        members.append(entry)
    stored: dict[str, Any] = {"plane": plane.plane, "members": members}
    if has_own:
        stored["calibration"] = store_calibration(plane.calibration, f"{plane.plane}.", tensors)
    stored["alone"] = None if plane.alone is None else _store_alone(plane.alone, tensors)
    stored["noise_share"] = plane.noise_share
    if plane.patches is not None:
        stored["n_kept_patches"] = len(plane.patches)
        tensors.update({f"{plane.plane}.{_PATCHES}{n}": t for n, t in plane.patches.tensors().items()})
    if plane.levels:
        stored["n_level_slices"] = [levels.n_slices for levels in plane.levels]
    for number, levels in enumerate(plane.levels):
        prefix = _levels_prefix(plane.plane, number)
        tensors.update({f"{prefix}{name}": tensor for name, tensor in levels.tensors().items()})
    return stored


def _levels_prefix(plane: str, number: int) -> str:
    return f"{plane}.levels.{number}."


def _store_alone(plane: PlaneModel, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Add the calibrations of `PlaneModel.alone` to ``tensors`` and return the rest of them as JSON values."""
    several = plane.members if len(plane.members) > 1 else ()
    return {
        "calibration": store_calibration(plane.calibration, f"{plane.plane}.{_ALONE}", tensors),
        "members": [
            store_calibration(member.calibration, f"{plane.plane}.{member.scorer.name}.{_ALONE}", tensors)
            for member in several
        ],
    }


def stored_calibration(counts: dict[str, Any], prefix: str, tensors: dict[str, torch.Tensor]) -> Calibration:
    """Rebuild what `store_calibration` stored."""
    arrays = {name: t.numpy() for name, t in _with_prefix(tensors, f"{prefix}calibration.").items()}
    return Calibration.from_stored(arrays, counts)


def stored_plane(
    entry: dict[str, Any], whole: Calibration | None, tensors: dict[str, torch.Tensor]
) -> PlaneModel:
    """Rebuild what `store_plane` stored; ``whole`` is the model's calibration when the plane is alone."""
    plane = entry["plane"]
    calibration = whole or stored_calibration(entry["calibration"], f"{plane}.", tensors)
    is_alone = len(entry["members"]) == 1
    members = []
    for stored in entry["members"]:
        prefix = f"{plane}.{stored['name']}."
        own = calibration if is_alone else stored_calibration(stored["calibration"], prefix, tensors)
        state = ScorerState(
            stored["name"],
            stored["settings"],
            {n: t for n, t in _with_prefix(tensors, prefix).items() if not n.startswith(_NOT_OF_SCORER)},
            stored["history"],
        )
        members.append(Member(scorer_from_state(state), own))
    levels = tuple(
        SliceLevels.from_tensors(_with_prefix(tensors, _levels_prefix(plane, number)))
        for number in range(len(entry.get("n_level_slices", ())))
    )
    patches = None
    if "n_kept_patches" in entry:
        patches = HeldOutPatches.from_tensors(_with_prefix(tensors, f"{plane}.{_PATCHES}"))
    share = float(entry["noise_share"])
    together = PlaneModel(
        plane, tuple(members), calibration, noise_share=share, levels=levels, patches=patches
    )
    alone = entry["alone"]
    return together if alone is None else replace(together, alone=_stored_alone(together, alone, tensors))


def _stored_alone(
    together: PlaneModel, entry: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> PlaneModel:
    """Rebuild what `_store_alone` stored, with the scorers of ``together``."""
    plane = together.plane
    calibration = stored_calibration(entry["calibration"], f"{plane}.{_ALONE}", tensors)
    scorers = [member.scorer for member in together.members]
    if len(scorers) == 1:
        return PlaneModel(plane, (Member(scorers[0], calibration),), calibration)
    members = [
        Member(scorer, stored_calibration(counts, f"{plane}.{scorer.name}.{_ALONE}", tensors))
        for scorer, counts in zip(scorers, entry["members"], strict=True)
    ]
    return PlaneModel(plane, tuple(members), calibration)


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
