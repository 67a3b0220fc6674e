"""Vision transformers and ConvNeXts of timm as backbones."""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_dinoad.backbones.device import choose_precision, in_precision
from napari_dinoad.backbones.embeddings import Images, PatchEmbeddings, as_images, grid_of
from napari_dinoad.backbones.memory import PREFERRED_SLICES, MemoryBatches
from napari_dinoad.backbones.openvino_forward import has_openvino, openvino_forward
from napari_dinoad.errors import BackboneError, first_line
from napari_dinoad.machine.faults import is_of_memory, is_of_temporary_folder
from napari_dinoad.machine.sending import on_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from napari_dinoad.backbones.layouts import Architecture
    from napari_dinoad.backbones.registry import BackboneSpec

__all__ = ["TimmBackbone", "architecture_of", "import_timm", "make_model"]

_GRIDS_KEPT = 8
"""Positional embeddings and rotations are kept for this many grids."""


def import_timm() -> ModuleType:
    """Return timm; `BackboneError` with the command that mends it where it cannot be imported."""
    try:
        import timm
    except (ImportError, RuntimeError, OSError, AttributeError, ValueError) as error:
        if is_of_memory(error) or is_of_temporary_folder(error):
            raise
        # PyTorch and torchvision of different builds fail with "operator torchvision::nms does not exist".
        version = torch.__version__.split("+")[0]
        raise BackboneError(
            f"timm could not be imported ({first_line(error)}). PyTorch {torch.__version__} and the "
            "torchvision installed here do not belong together, or timm is missing. Install a matching set: "
            f'pip install --force-reinstall "torch=={version}" torchvision timm (with one --index-url for all, '
            "if PyTorch was installed with one)."
        ) from error
    module: ModuleType = timm
    return module


def make_model(spec: BackboneSpec, *, with_bias: bool = False) -> nn.Module:
    """Return timm's network for a backbone, with random weights, on the default device.

    Parameters
    ----------
    spec : BackboneSpec
    with_bias : bool
        Whether a DINOv3's queries and values have biases (zero in all published weights, and then left out).

    Raises
    ------
    BackboneError
        If timm does not know the name, or it is neither a vision transformer nor a ConvNeXt.
    """
    timm = import_timm()
    name = spec.timm_name or ""
    if with_bias and "_dinov3" in name and "_qkvb" not in name:
        name = name.replace("_dinov3", "_dinov3_qkvb")
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0]}*")[:5]
        raise BackboneError(
            f"Backbone: timm {timm.__version__} knows no {name!r}. "
            + (f"It knows {', '.join(near)}." if near else "Look the name up with timm.list_models().")
        )
    options = {} if name.startswith("convnext") else {"dynamic_img_size": True}
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BackboneError(
            f"Backbone: {name!r} of timm cannot be used ({first_line(error)}). Expected a vision "
            "transformer that takes any image size, or a ConvNeXt."
        ) from error
    is_vit = hasattr(model, "num_prefix_tokens") and hasattr(model, "patch_embed")
    if not is_vit and not name.startswith("convnext"):
        raise BackboneError(
            f"Backbone: {name!r} of timm is a {type(model).__name__}; expected a vision transformer or a ConvNeXt."
        )
    return model.eval().requires_grad_(False)


def architecture_of(model: nn.Module) -> Architecture:
    """Return which published layouts suit this network."""
    if hasattr(model, "stages") and hasattr(model, "stem"):
        return "convnext"
    if getattr(model, "rope", None) is not None and getattr(model, "reg_token", None) is not None:
        return "dinov3"
    if getattr(model, "pos_embed", None) is not None and hasattr(model, "blocks"):
        return "dinov2"
    return "other"


class TimmBackbone:
    """Patch tokens of a frozen timm network: last block, final norm applied, class and register tokens dropped.

    Parameters
    ----------
    spec : BackboneSpec
    model : torch.nn.Module
        timm's network with its weights.
    device : torch.device
    weights_file : Path, optional
        Where the weights came from.
    use_openvino : bool, optional
        Whether OpenVINO computes on the CPU in place of PyTorch; None: where it is installed.
    keep_conversion : bool
        Whether what is made of the network for OpenVINO stays in the user's cache folder.

    Raises
    ------
    BackboneError
        If more blocks are to be averaged than the network has.

    Attributes
    ----------
    precision : torch.dtype
        What the network computes in; embeddings are float32 always.

    Notes
    -----
    Grey images get three equal channels, and all the mean and standard deviation of timm's configuration. For DINOv2
    the positional embedding is interpolated as Transformers does (bicubic, to the grid's size; anti-aliased only with
    registers), not as timm does by default. Meta's own code does the same with registers; without them it scales by
    (g + 0.1) / 37 in place of g / 37, so that its tokens differ, at all but the 37 × 37 grid. On CUDA the network
    runs in bfloat16 (autocast) where that is quicker; everywhere else in float32.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        model: Any,
        device: torch.device,
        weights_file: Path | None = None,
        use_openvino: bool | None = None,
        keep_conversion: bool = True,
    ) -> None:
        self._spec = spec
        self._is_convnext = architecture_of(model) == "convnext"
        depth = len(getattr(model, "blocks", ()))
        if spec.n_layers > max(depth, 1):
            raise BackboneError(
                f"Backbone: {spec.name!r} asks for the mean of the last {spec.n_layers} blocks; this network has "
                f"{depth or 'none'} of one size. Leave out ':last{spec.n_layers}', or ask for fewer."
            )
        # A GPU's convolutions are quicker with channels last; for the CPU it makes no difference.
        layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
        self._model = model.to(device, memory_format=layout)
        self.device = device
        if device.type != "cpu" and architecture_of(model) == "dinov3":
            # timm computes the rotations of a grid for each batch, on the CPU, and sends them: a GPU is waited for.
            self._model.rope.get_embed = lru_cache(_GRIDS_KEPT)(self._model.rope.get_embed)
        self.precision = choose_precision(device)
        self._batches = MemoryBatches()
        self.weights_file = weights_file
        configuration = self._model.pretrained_cfg
        self._mean = torch.tensor(configuration["mean"], device=device)[:, None, None]
        self._std = torch.tensor(configuration["std"], device=device)[:, None, None]
        self._positions: dict[tuple[int, int], torch.Tensor] = {}
        self._uses_openvino = has_openvino() if use_openvino is None else use_openvino
        self._keeps_conversion = keep_conversion
        self._by_openvino: dict[tuple[int, int], Callable[[torch.Tensor], torch.Tensor] | None] = {}
        if spec.family == "DINOv2":
            # On the CPU, which interpolates alike on every machine; some versions of PyTorch cannot do it on MPS.
            self._published_positions = self._model.pos_embed.detach().to("cpu", copy=True)

    @property
    def name(self) -> str:
        """The name it was asked for."""
        return self._spec.name

    @property
    def is_dino(self) -> bool:
        """Whether its weights were trained by a DINO method."""
        return self._spec.is_dino

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return int(self._model.num_features)

    @property
    def patch_size_px(self) -> int:
        """Side of a patch in input pixels."""
        if self._is_convnext:
            return int(self._model.feature_info[-1]["reduction"])
        embed = self._model.patch_embed
        # Where a convolutional stem comes before, the size of a patch in its features says nothing of the input.
        rows, columns = (
            embed.feat_ratio(as_scalar=False) if hasattr(embed, "feat_ratio") else embed.patch_size
        )
        if rows != columns:
            raise BackboneError(f"Backbone {self.name}: expected square patches, got {rows}×{columns}.")
        return int(rows)

    @property
    def default_resolution_px(self) -> int:
        """Side of the square input: 448 pixels, or the nearest multiple of the patch size."""
        return round(self._spec.default_resolution_px / self.patch_size_px) * self.patch_size_px

    @property
    def runtime(self) -> str:
        """What computes, and in which precision, as known since the first slices."""
        is_converted = any(forward is not None for forward in self._by_openvino.values())
        return f"{'OpenVINO' if is_converted else 'PyTorch'}, {str(self.precision).removeprefix('torch.')}"

    @property
    def batch_slices(self) -> int:
        """Slices a call that keep its device busy, or that its memory holds."""
        return self._batches.at_once(PREFERRED_SLICES.get(self.device.type, 1), self.device)

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 (hex) of the weights themselves, so that it is the same for every layout they are stored in."""
        digest = hashlib.sha256()
        with torch.inference_mode():
            for name, tensor in sorted(self._own_state().items()):
                digest.update(f"{name}{tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def patch_grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (gh, gw) for inputs of this size; `BackboneError` if it is no multiple of the patch size."""
        return grid_of(self.name, height, width, self.patch_size_px)

    def __call__(self, images: Images) -> PatchEmbeddings:
        """Embed slices (n, H, W), or (n, 3, H, W), with values in [0, 1]; `BackboneError` if they do not fit."""
        tensor = as_images(images)
        grid = self.patch_grid(tensor.shape[-2], tensor.shape[-1])
        if not len(tensor):
            nothing = torch.empty((0, *grid, self.embedding_dim), device=self.device)
            return PatchEmbeddings(nothing, self.patch_size_px)
        return PatchEmbeddings(self._batches.run(self._embed, tensor, self.device), self.patch_size_px)

    @torch.no_grad()
    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens (n, gh, gw, d) float32 of slices (n, H, W) or (n, 3, H, W)."""
        grid = self.patch_grid(images.shape[-2], images.shape[-1])
        slices = on_device(images, self.device)
        channels = (
            (slices[:, None] if slices.ndim == 3 else slices) - self._mean
        ) / self._std  # (n, 3, H, W)
        if self.device.type == "cuda":
            channels = channels.contiguous(memory_format=torch.channels_last)
        with in_precision(self.device, self.precision):
            return self._tokens(channels, grid)

    def _tokens(self, channels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        if self._spec.family == "DINOv2":
            self._place_positions(grid)
        forward: Callable[[torch.Tensor], torch.Tensor] = self._forward
        if self.device.type == "cpu" and self._uses_openvino:
            forward = self._converted(channels, grid) or forward
        tokens = forward(channels)
        shape = (len(channels), *grid, self.embedding_dim)
        if tuple(tokens.shape) not in (shape, (shape[0], grid[0] * grid[1], shape[3])):
            raise BackboneError(
                f"Backbone {self.name}: expected {grid[0]}×{grid[1]} patch tokens of length {self.embedding_dim} a "
                f"slice, got an output of shape {tuple(tokens.shape[1:])}. This network cannot be used here; choose "
                "a plain vision transformer or a ConvNeXt."
            )
        return tokens.float().reshape(shape)  # (n, gh · gw, d) → (n, gh, gw, d)

    def _forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Return tokens (n, gh · gw, d), or (n, gh, gw, d) of a ConvNeXt, of inputs (n, 3, H, W)."""
        if self._is_convnext:
            features: torch.Tensor = self._model.forward_features(channels)
            if hasattr(self._model.head, "norm"):
                features = self._model.head.norm(features)
            return features.permute(0, 2, 3, 1)  # (n, d, gh, gw) → (n, gh, gw, d)
        if self._spec.n_layers == 1:
            tokens: torch.Tensor = self._model.forward_features(channels)[:, self._model.num_prefix_tokens :]
            if isinstance(self._model.norm, nn.Identity) and hasattr(self._model, "fc_norm"):
                tokens = self._model.fc_norm(tokens)
            return tokens
        layers = self._model.forward_intermediates(
            channels, indices=self._spec.n_layers, norm=True, output_fmt="NLC", intermediates_only=True
        )
        return torch.stack(layers).mean(0)

    def _converted(
        self, channels: torch.Tensor, grid: tuple[int, int]
    ) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Return the network in OpenVINO for this grid, converted the first time; None where it cannot be."""
        if grid not in self._by_openvino:
            layers = f"{self._spec.n_layers}-layers" if self._spec.n_layers > 1 else "last"
            # The name too: timm's own DINOv2 has the same weights and other positions.
            name = self._spec.base_name.replace(":", "_")
            key = f"{name}-{self.weights_sha256[:16]}-{layers}-{grid[0]}x{grid[1]}"
            self._by_openvino[grid] = openvino_forward(
                self._forward, self._model, channels[:1], key if self._keeps_conversion else None
            )
        return self._by_openvino[grid]

    def _place_positions(self, grid: tuple[int, int]) -> None:
        """Give timm's network the positional embedding of this grid, so that it need not interpolate its own."""
        if grid not in self._positions:
            if len(self._positions) == _GRIDS_KEPT:
                self._positions.clear()
            self._positions[grid] = on_device(self._interpolated(grid), self.device)
        self._model.pos_embed = nn.Parameter(self._positions[grid], requires_grad=False)
        self._model.patch_embed.grid_size = grid

    def _interpolated(self, grid: tuple[int, int]) -> torch.Tensor:
        published: torch.Tensor = self._published_positions
        prefix = 0 if self._model.no_embed_class else self._model.num_prefix_tokens
        patches = published[:, prefix:]
        side = round(patches.shape[1] ** 0.5)
        if grid == (side, side):
            return published
        square = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, d, side, side)
        resized = nn.functional.interpolate(
            square,
            size=grid,
            mode="bicubic",
            align_corners=False,
            antialias=self._model.reg_token is not None,
        )
        return torch.cat([published[:, :prefix], resized.flatten(2).transpose(1, 2)], dim=1)

    def _own_state(self) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = self._model.state_dict()
        if self._spec.family == "DINOv2":
            state["pos_embed"] = self._published_positions
        return state
