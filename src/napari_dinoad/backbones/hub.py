"""Weights from the model hub: what its cache holds already, and downloading."""

from __future__ import annotations

import logging
import re
import socket
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from napari_dinoad.backbones.checkpoint import sha256_of_file
from napari_dinoad.errors import WeightsError

if TYPE_CHECKING:
    from napari_dinoad.backbones.registry import BackboneSpec

__all__ = ["HUB_FILES", "cached_in_hub", "download_from_hub", "hub_repositories"]

logger = logging.getLogger(__name__)

HUB_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""File names of weights in a repository, in the order of preference."""

PROBE_TIMEOUT_S = 5.0
"""A hub that does not answer for this long is taken for unreachable (the client itself would retry for minutes)."""

_SHA256 = re.compile(r"^[0-9a-f]{64}$")


def hub_repositories(spec: BackboneSpec) -> tuple[str, ...]:
    """Return the hub repositories that hold this backbone's weights, timm's first."""
    timm_repository = f"timm/{spec.timm_name}" if spec.timm_name and "." in spec.timm_name else None
    return tuple(name for name in (timm_repository, spec.transformers_repo) if name)


def cached_in_hub(spec: BackboneSpec) -> Path | None:
    """Return this backbone's weights in the hub's cache or in ``torch.hub``'s, or None."""
    from huggingface_hub import try_to_load_from_cache

    for repository in hub_repositories(spec):
        for name in HUB_FILES:
            path = try_to_load_from_cache(repository, name)
            if isinstance(path, str):
                return Path(path)
    return _cached_in_torch_hub(spec)


def _cached_in_torch_hub(spec: BackboneSpec) -> Path | None:
    import torch

    if spec.meta_stem is None:
        return None
    return next(iter(sorted(Path(torch.hub.get_dir(), "checkpoints").glob(f"{spec.meta_stem}*.pth"))), None)


def download_from_hub(spec: BackboneSpec) -> Path:
    """Download this backbone's weights into the hub's cache and return the file.

    An interrupted download is continued; the file is checked against the SHA-256 that the hub names for it. Proxies
    and ``HF_HUB_OFFLINE`` are the client's own and hold here.

    Raises
    ------
    WeightsError
        If the hub is switched off, cannot be reached, or does not have the file; the message is the reason.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository = next(iter(hub_repositories(spec)), None)
    if repository is None:
        raise WeightsError("timm names no repository for it (write timm:<model>.<weights>)")
    if constants.is_offline_mode():
        raise WeightsError("downloads are switched off (HF_HUB_OFFLINE)")
    _require_reachable(constants.ENDPOINT)
    logger.warning(
        "Downloading %s from %s; licence of the weights: %s.", spec.base_name, repository, spec.licence
    )
    try:
        path = Path(hf_hub_download(repository, HUB_FILES[0]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise WeightsError(f"{repository}: {reason[0] if reason else type(error).__name__}") from error
    _require_announced_hash(path)
    return path


def _require_reachable(endpoint: str) -> None:
    address = urlsplit(endpoint)
    if urllib.request.getproxies().get(address.scheme):
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise WeightsError(f"{address.hostname} cannot be reached ({error.strerror or error})") from error


def _require_announced_hash(path: Path) -> None:
    # The cache keeps a large file under its SHA-256, which the hub named before sending it.
    announced = path.resolve().name
    if _SHA256.match(announced) and sha256_of_file(path) != announced:
        path.resolve().unlink()
        raise WeightsError(
            "the file came damaged (its SHA-256 is not the one that the hub names); it was removed"
        )
