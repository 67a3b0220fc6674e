"""Weights from elsewhere: what the caches on this machine hold already, and downloading."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import socket
import urllib.request
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from napari_dinoad.backbones.weights.download import MIB, NoPlaceError, discard_part, download, part_of
from napari_dinoad.backbones.weights.official import official_file
from napari_dinoad.errors import DinoadError, WeightsError, first_line
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.machine.user_folders import expanded
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfFileMetadata

    from napari_dinoad.backbones.registry import BackboneSpec
    from napari_dinoad.progress import Progress

__all__ = [
    "HUB_FILES",
    "INDEX_SUFFIX",
    "cached_weights",
    "download_weights",
    "hub_repositories",
    "torch_hub_folder",
]

logger = logging.getLogger(__name__)

INDEX_SUFFIX = ".safetensors.index.json"
"""Ending of the list of a checkpoint that is spread over several files."""

HUB_FILES = ("model.safetensors", f"model{INDEX_SUFFIX}", "pytorch_model.bin")
"""File names of weights in a repository, in the order of preference."""

PROBE_TIMEOUT_S = 5.0
"""A server that does not answer for this long is taken for unreachable (the hub's client would retry for minutes)."""

_SHA256 = re.compile(r"^[0-9a-f]{64}$")

_QUERY = re.compile(r"(?<=\w)\?[\w%.~-]+=[^\s'\">)]*")
"""What follows an address in a message: a signature may be in it that opens the file to anyone."""


def hub_repositories(spec: BackboneSpec) -> tuple[str, ...]:
    """Return the hub repositories that hold this backbone's weights, timm's first."""
    timm_repository = f"timm/{spec.timm_name}" if spec.timm_name and "." in spec.timm_name else None
    return tuple(name for name in (timm_repository, spec.transformers_repo) if name)


def torch_hub_folder() -> Path:
    """Return where ``torch.hub`` keeps the files that it downloaded; needs no torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", str(Path(cache, "torch")))
    return expanded(home, "The folder of torch.hub") / "hub" / "checkpoints"


def cached_weights(spec: BackboneSpec) -> Path | None:
    """Return this backbone's weights in the model hub's cache or in ``torch.hub``'s, or None."""
    from huggingface_hub import try_to_load_from_cache

    for repository in hub_repositories(spec):
        for name in HUB_FILES:
            path = try_to_load_from_cache(repository, name)
            if isinstance(path, str) and _is_whole(Path(path)):
                return Path(path)
    if spec.meta_stem is None:
        return None
    named = sorted(torch_hub_folder().glob(f"{spec.meta_stem}*"))
    return next((path for path in named if path.suffix in (".pth", ".pt") and path.is_file()), None)


def _is_whole(path: Path) -> bool:
    """Return whether a file is there, of an index also its parts: a download of several may have been cut short."""
    if not path.name.endswith(INDEX_SUFFIX) or not path.is_file():
        return path.is_file()
    try:
        parts = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return False
    return all(path.with_name(str(part)).is_file() for part in parts)


def download_weights(spec: BackboneSpec, progress: Progress | None = None) -> Path:
    """Download this backbone's weights into the cache of ``torch.hub`` or of the model hub and return the file.

    Meta's own file comes first where anyone may have it: its SHA-256 is known beforehand. Else the model hub, whose
    file is checked against the SHA-256 that it names for the revision. An interrupted download is continued by the
    next call.

    Parameters
    ----------
    spec : BackboneSpec
    progress : callable, optional
        Called in steps of mebibytes; may raise `Cancelled`.

    Raises
    ------
    WeightsError
        If downloads are switched off, or no source can be reached or has the file; the message is the reason.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise WeightsError("downloads are switched off (HF_HUB_OFFLINE)")
    _require_sense()
    path = _from_first_source(spec, progress)
    for target in _targets(spec):
        discard_part(target)
    return path


def _from_first_source(spec: BackboneSpec, progress: Progress | None) -> Path:
    """Return what the first source brings that can; `WeightsError` with the reasons where none does."""
    from huggingface_hub import constants

    reasons = []
    stage = f"Downloading {spec.base_name}"
    official = official_file(spec)
    if official is not None and official.url is not None:
        _say_licence(spec, official.url)
        try:
            _require_reachable(official.url)
            return download(
                official.url, torch_hub_folder() / official.name, official.sha256, progress, stage
            )
        except NoPlaceError as error:
            reasons.append(f"{error} (TORCH_HOME)")
        except WeightsError as error:
            reasons.append(str(error))
    for repository in hub_repositories(spec):
        _say_licence(spec, f"{constants.ENDPOINT}/{repository}")
        try:
            _require_reachable(constants.ENDPOINT)
            return _download_from_hub(repository, progress, stage)
        except WeightsError as error:
            reasons.append(f"{error} (HF_HOME)" if isinstance(error.__cause__, NoPlaceError) else str(error))
    if not reasons:
        reasons.append("timm names no repository for it (write timm:<model>.<weights>)")
    raise WeightsError("; ".join(dict.fromkeys(reason.rstrip(".") for reason in reasons)))


def _targets(spec: BackboneSpec) -> Iterator[Path]:
    """Give the files of every source of which some has come: once one is whole, nobody goes on with the others."""
    official = official_file(spec)
    if official is not None:
        yield torch_hub_folder() / official.name
    for repository in hub_repositories(spec):
        for part in sorted(_blobs(repository).glob("*.part")):
            yield part.with_suffix("")


def _blobs(repository: str) -> Path:
    """Return where the hub's client keeps the files of a repository, under their SHA-256."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "blobs")


def _require_sense() -> None:
    """Refuse what the environment says of the network where it cannot be meant so: libraries tell it in riddles."""
    from huggingface_hub import constants

    if urlsplit(constants.ENDPOINT).scheme not in ("http", "https"):
        raise WeightsError(
            f"HF_ENDPOINT is {constants.ENDPOINT!r}; expected an address that begins with https://"
        )
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates and not Path(certificates).is_file():
        raise WeightsError(
            f"SSL_CERT_FILE names {certificates}; expected a file with certificates, found none there"
        )


def _say_licence(spec: BackboneSpec, place: str) -> None:
    logger.warning("Downloading %s from %s; licence of the weights: %s.", spec.base_name, place, spec.licence)


def _download_from_hub(repository: str, progress: Progress | None, stage: str) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    options: dict[str, Any] = {}
    if progress is not None and "tqdm_class" in inspect.signature(hf_hub_download).parameters:
        options["tqdm_class"] = _progress_bar(progress, stage)
    try:
        announced = get_hf_file_metadata(hf_hub_url(repository, HUB_FILES[0]))
        blob = _fetch_blob(repository, announced, progress, stage)
        n_mib = (announced.size or 0) // MIB
        if blob is None:
            # Clients before 1.0 tell nothing in between.
            report(progress, stage, 0, n_mib)
        with warnings.catch_warnings():
            # That without links, as on Windows, files would be there twice: below, one of them goes.
            warnings.filterwarnings("ignore", ".*cache-system uses symlinks")
            # What lies in its cache already the client only gives its name.
            path = Path(hf_hub_download(repository, HUB_FILES[0], **options))
        report(progress, stage, n_mib, n_mib)
    except DinoadError:
        raise  # Cancelled, from our progress callable; or told already.
    except Exception as error:
        # The hub's client changes its transport (requests, httpx, Xet), each with errors of its own: proxy, TLS,
        # hang-up, redirects. Whatever it was, the next source is tried.
        raise WeightsError(f"{repository}: {_reason(error)}") from error
    if blob is not None:
        _without_second_copy(blob, path)
        return path
    sha256 = announced.etag
    if sha256 and _SHA256.match(sha256) and sha256_of_file(path) != sha256:
        path.resolve().unlink()
        raise WeightsError(
            f"{repository}: the file came damaged (its SHA-256 is not the one that the hub names); it was removed"
        )
    return path


def _fetch_blob(
    repository: str, announced: HfFileMetadata, progress: Progress | None, stage: str
) -> Path | None:
    """Download a file into the hub's cache, checked, and return where it lies there under its SHA-256.

    The hub's client keeps nothing of a download that is interrupted. So the file is brought where the client looks
    for it before it downloads, and goes on from what an earlier call left. Where nothing comes this way (certificates
    that only the client knows) it is the client's turn: None.

    Raises
    ------
    WeightsError
        If the connection breaks for good, after some of it came.
    """
    from huggingface_hub import constants, get_token

    sha256, url = announced.etag, announced.location
    if sha256 is None or not _SHA256.match(sha256):
        return None
    blob = _blobs(repository) / sha256
    if blob.is_file():
        return blob
    # The hub refers to its store by a signed address, which is for anyone who has it.
    is_hub = urlsplit(url).netloc == urlsplit(constants.ENDPOINT).netloc
    try:
        return download(url, blob, sha256, progress, stage, get_token() if is_hub else None)
    except WeightsError as error:
        if isinstance(error, NoPlaceError) or part_of(blob).is_file():
            raise WeightsError(f"{repository}: {error}") from error
        logger.info("The hub's client downloads it, since that failed: %s", error)
        return None


def _without_second_copy(blob: Path, path: Path) -> None:
    """Remove the file under its SHA-256 where the client has copied it, because it could make no link (Windows)."""
    if path.is_file() and not path.samefile(blob):
        blob.unlink()


def _reason(error: Exception) -> str:
    """Return in one line why the hub gave no file; of a repository behind a licence, what is to be done first."""
    from huggingface_hub.errors import GatedRepoError

    reason = _QUERY.sub("", first_line(error))
    if isinstance(error, GatedRepoError):
        return f"{reason} Agree to the licence on the repository's page, and set HF_TOKEN to a token of that account"
    return reason


def _progress_bar(progress: Progress, stage: str) -> type:
    """Return a bar for the hub's client that tells our progress callable instead of drawing."""
    from tqdm import tqdm

    class ReportingBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})
            self.total, self.n = kwargs.get("total") or 0, kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            report(progress, stage, int(self.n) // MIB, int(self.total) // MIB)

    return ReportingBar


def _require_reachable(url: str) -> None:
    address = urlsplit(url)
    proxies = urllib.request.getproxies()
    if not urllib.request.proxy_bypass(address.netloc) and (
        proxies.get(address.scheme) or proxies.get("all")
    ):
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise WeightsError(f"{address.hostname} cannot be reached ({error.strerror or error})") from error
