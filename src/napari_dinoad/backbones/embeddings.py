"""`PatchEmbeddings`, the `Backbone` protocol, and how images come in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from napari_dinoad.errors import BackboneError, SettingError
from napari_dinoad.given_arrays import require_array

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Backbone",
    "Images",
    "PatchEmbeddings",
    "as_images",
    "grid_of",
    "require_backbone",
    "weights_identity",
]

Images = np.ndarray | torch.Tensor
"""Slices, grey (n, height, width) or in colour (n, 3, height, width), values in [0, 1]."""


@dataclass(frozen=True, eq=False, repr=False)
class PatchEmbeddings:
    """The embeddings of the patches of n slices.

    Attributes
    ----------
    values : torch.Tensor
        (n, gh, gw, d) float32, contiguous, on the backbone's device. ``values[i, r, c]`` belongs to the pixels
        ``[r * p : (r + 1) * p, c * p : (c + 1) * p]`` of slice i, p being ``patch_size_px``.
    patch_size_px : int
        Side of a patch in input pixels.

    Raises
    ------
    BackboneError
        If the values are not four-dimensional.
    """

    values: torch.Tensor
    patch_size_px: int

    def __post_init__(self) -> None:
        if self.values.ndim != 4:
            shape = tuple(self.values.shape)
            raise BackboneError(f"Patch embeddings: expected (n, gh, gw, d), got shape {shape}.")

    def __repr__(self) -> str:
        return (
            f"<PatchEmbeddings (n, gh, gw, d) {tuple(self.values.shape)}, patches of {self.patch_size_px} px>"
        )

    @property
    def patch_grid(self) -> tuple[int, int]:
        """(gh, gw)."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def embedding_dim(self) -> int:
        """Length d of an embedding."""
        return self.values.shape[3]

    def __len__(self) -> int:
        return self.values.shape[0]


class Backbone(Protocol):
    """A frozen map from slices to patch embeddings. The same input gives the same output.

    Attributes
    ----------
    name : str
        The name it was asked for (``"dinov2_vits14"``, ``"embedded"``).
    embedding_dim : int
        Length d of an embedding.
    default_resolution_px : int
        Side of the square input that it is meant for.
    patch_size_px : int
        Side of a patch in input pixels.
    device : torch.device
        Where it computes, and where its embeddings lie.
    batch_slices : int
        Slices a call that keep its device busy. More are taken too, in parts if memory asks for it.
    is_dino : bool
        Whether its weights were trained by a DINO method.
    weights_file : Path, optional
        Where its weights came from; None when they are built in.
    runtime : str
        What computes, and in which precision (``"PyTorch, float32"``), as known since the first slices.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class
    @property
    def embedding_dim(self) -> int: ...  # noqa: D102
    @property
    def default_resolution_px(self) -> int: ...  # noqa: D102
    @property
    def patch_size_px(self) -> int: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def batch_slices(self) -> int: ...  # noqa: D102
    @property
    def is_dino(self) -> bool: ...  # noqa: D102
    @property
    def weights_file(self) -> Path | None: ...  # noqa: D102
    @property
    def runtime(self) -> str: ...  # noqa: D102

    @property
    def weights_sha256(self) -> str:
        """SHA-256 (hex) that names its weights: two backbones with the same one give the same embeddings."""
        ...

    def patch_grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (gh, gw) for inputs of this size; `BackboneError` if it does not fit."""
        ...

    def __call__(self, images: Images) -> PatchEmbeddings:
        """Embed slices, grey (n, H, W) or in colour (n, 3, H, W), with values in [0, 1].

        Grey is seen as three equal channels are. Those of colour may be longer than ``embedding_dim``.

        Raises
        ------
        BackboneError
            If the shape or the values do not fit.
        """
        ...


_PARTS = (*(name for name, part in vars(Backbone).items() if isinstance(part, property)), "patch_grid")


def require_backbone(backbone: Backbone) -> None:
    """Raise `SettingError` unless an object has all that a `Backbone` has."""
    missing = [name for name in _PARTS if not hasattr(backbone, name)]
    if not callable(backbone):
        missing.append("__call__")
    if missing:
        raise SettingError(
            f"backbone: expected one that is loaded, got {type(backbone).__name__}, which has no "
            f"{', '.join(missing)}. Load one with load_backbone(name)."
        )


def weights_identity(backbone: Backbone, in_colour: bool) -> str:
    """Return the SHA-256 (hex) that names the weights of a backbone's embeddings, of grey or in colour.

    That is ``weights_sha256``, and in colour ``colour_weights_sha256`` of a backbone that has one: what it sees of
    colours rests on more than what it sees of grey does.
    """
    of_grey = backbone.weights_sha256
    return str(getattr(backbone, "colour_weights_sha256", of_grey)) if in_colour else of_grey


def grid_of(name: str, height: int, width: int, patch_size_px: int) -> tuple[int, int]:
    """Return (gh, gw) of a height × width image, or raise `BackboneError` with the sizes that would fit."""
    if min(height, width) < patch_size_px or height % patch_size_px or width % patch_size_px:
        near = [max(1, round(side / patch_size_px)) * patch_size_px for side in (height, width)]
        raise BackboneError(
            f"Resolution for {name}: expected multiples of its patch size of {patch_size_px} pixels, got "
            f"{height}×{width}. Use {near[0]}×{near[1]}, for instance (--resolution)."
        )
    return height // patch_size_px, width // patch_size_px


_BEYOND = 0.5
"""So far beyond black and white values may lie: interpolation overshoots at edges."""


def as_images(images: Images) -> torch.Tensor:
    """Return slices as a (n, H, W) or (n, 3, H, W) float32 tensor, checked, on the device where they are.

    Values that lie on a GPU already are not looked at: it would have to be waited for.

    Raises
    ------
    BackboneError
        If there are not three axes, or four with three channels, the type is not a float, a value is masked or not
        finite, or far from [0, 1].
    """
    tensor = images
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        require_array("Images", images, BackboneError)
        # PyTorch knows only the machine's own byte order.
        tensor = torch.as_tensor(np.ascontiguousarray(images, images.dtype.newbyteorder("=")))
    if not (isinstance(tensor, torch.Tensor) and _is_of_slices(tensor.shape) and tensor.is_floating_point()):
        got = f"{type(images).__name__} {tuple(getattr(images, 'shape', ()))} {getattr(images, 'dtype', '')}"
        raise BackboneError(
            "Images: expected grey slices (n, height, width), or (n, 3, height, width) of "
            f"colour, float32 in [0, 1], got {got}."
        )
    tensor = tensor.to(dtype=torch.float32)
    if tensor.device.type == "cpu" and tensor.numel():
        low, high = (float(bound) for bound in tensor.aminmax())
        if not math.isfinite(low) or not math.isfinite(high):
            raise BackboneError("Images: expected finite values in [0, 1], got NaN or infinity.")
        if low < -_BEYOND or high > 1 + _BEYOND:
            raise BackboneError(
                f"Images: expected values in [0, 1], got {low:g} to {high:g}. Divide them by what is white (255 for "
                "8 bits)."
            )
    return tensor


def _is_of_slices(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 or (len(shape) == 4 and shape[1] == 3)
