"""Downloading one file: continued where it broke off, checked by its SHA-256, through whatever proxy is set."""

from __future__ import annotations

import http.client
import logging
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError, WeightsError
from napari_dinoad.machine.atomic_files import require_folder
from napari_dinoad.machine.disk_room import DISK_FULL, room_in_words
from napari_dinoad.machine.file_lock import LockedError, locked
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_dinoad.progress import Progress

__all__ = ["MIB", "NoPlaceError", "discard_part", "download", "part_of"]

logger = logging.getLogger(__name__)

MIB = 1 << 20
"""Progress of a download is told in mebibytes."""

_BLOCK = 1 << 20
_TIMEOUT_S = 30.0
"""A server that says nothing for this long is taken for gone."""

_POLL_S = 0.5
"""Another process that brings the same file is asked so often whether it has done."""

_ATTEMPTS = 5
"""A connection that breaks is made again, as long as each brings something; this often where it is under 1 MiB."""

_TOTAL = re.compile(r"/(\d+)$")

_PAGE = re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)
"""How a page begins, whatever the server says that it is; no weights file begins so."""

_PAGE_BYTES = 64


class NoPlaceError(WeightsError):
    """What the network would bring cannot be kept on this machine; it has no part in that, and no other way helps."""


def download(
    url: str,
    target: Path,
    sha256: str,
    progress: Progress | None = None,
    stage: str = "Downloading",
    token: str | None = None,
) -> Path:
    """Download a file and return ``target``, which exists only once it is whole and right.

    What has come stays in ``<target>.part`` when the connection breaks or the caller cancels, and the next call
    goes on from there. A file that another process is bringing is waited for. Proxies are those of the environment
    (``https_proxy``, ``no_proxy``), certificates too (``SSL_CERT_FILE``).

    Parameters
    ----------
    url : str
    target : Path
        Its folder is made if needed.
    sha256 : str
        Of the whole file, hex.
    progress : callable, optional
        Called after each mebibyte; may raise `Cancelled`.
    stage : str
        What is told to ``progress``.
    token : str, optional
        Tells the server who asks. Not sent on to another one that it may refer to.

    Raises
    ------
    NoPlaceError
        If the folder cannot be made or takes no file, or the disk is too small. What had come of it is removed where
        the disk ran full.
    WeightsError
        If the server cannot be reached or refuses, or another file came (it is removed).
    """
    part = part_of(target)
    try:
        require_folder(target.parent)
    except DinoadError as error:
        raise NoPlaceError(str(error)) from error
    with _alone(target, progress, stage) as has_waited:
        if has_waited and target.is_file():
            return target
        _fetch(url, token, part, sha256, progress, stage)
        got = sha256_of_file(part)
        if got != sha256:
            part.unlink()
            raise WeightsError(
                f"{_shown(url)}: the file came damaged or is another one (expected SHA-256 {sha256[:12]}…, got "
                f"{got[:12]}…); it was removed"
            )
        part.replace(target)
    return target


@contextmanager
def _alone(target: Path, progress: Progress | None, stage: str) -> Iterator[bool]:
    """Hold what only one process may: bringing this file. Give whether another one was waited for.

    Two that went on from one part would both append to it. On a disk without locks nothing is held.
    """
    path, has_waited = target.with_name(f"{target.name}.lock"), False
    with ExitStack() as stack:
        lock = None
        while lock is None:
            try:
                lock = stack.enter_context(locked(path, wait=False))
            except LockedError:
                if not has_waited:
                    logger.warning("Another process is downloading %s: waiting for it.", target.name)
                has_waited = True
                report(progress, stage, 0, 0)
                time.sleep(_POLL_S)
            except DinoadError as error:
                logger.info("Downloading without a lock: %s", error)
                break
        try:
            yield has_waited
        finally:
            if lock is not None:
                lock.remove()


def discard_part(target: Path) -> None:
    """Remove what has come of a file that is not wanted any more, unless another process is bringing it."""
    part = part_of(target)
    if not part.is_file():
        return
    with suppress(DinoadError, OSError), locked(target.with_name(f"{target.name}.lock"), wait=False) as lock:
        part.unlink(missing_ok=True)
        lock.remove()


def part_of(target: Path) -> Path:
    """Return where what has come of a file lies until it is whole."""
    return target.with_name(target.name + ".part")


def _request(url: str, token: str | None, start: int) -> urllib.request.Request:
    """Return a request of a file from this byte on, for one connection: sent through a proxy it is another one."""
    headers = {"User-Agent": "napari-dinoad", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    if token is not None:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _shown(url: str) -> str:
    """Return an address without its query, in which a signature may stand that opens the file to anyone."""
    return url.partition("?")[0]


def _fetch(
    url: str, token: str | None, part: Path, sha256: str, progress: Progress | None, stage: str
) -> None:
    """Bring ``part`` to the file's full length, over as many connections as it takes."""
    n_short = 0
    while n_short < _ATTEMPTS:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _receive(url, token, part, progress, stage):
                return
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416:
                again = f" (try again after {after} s)" if (after := error.headers.get("Retry-After")) else ""
                raise WeightsError(
                    f"{_shown(url)}: the server says {error.code} {error.reason}{again}"
                ) from error
            if part.is_file() and sha256_of_file(part) == sha256:
                return  # Nothing was missing but its name.
            part.unlink(missing_ok=True)  # What is there does not fit the file: begin again.
            before, reason = -1, "the server has another file"
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                part.unlink(missing_ok=True)
                raise NoPlaceError(_too_small(error, part.parent)) from error
            reason = _reason(error)
        gained = (part.stat().st_size if part.is_file() else 0) - before
        if gained <= 0:
            break
        n_short += gained < MIB
        logger.info("Download broke off (%s) after %d bytes", reason, gained)
    raise WeightsError(f"{_shown(url)}: {reason}")


def _reason(error: Exception) -> str:
    """Return why nothing comes; of a certificate that is not known, what may be done."""
    inner = getattr(error, "reason", None) or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return (
            f"the certificate is not trusted ({inner.verify_message}). If a proxy opens encrypted connections here, "
            "name the file with its certificate in SSL_CERT_FILE"
        )
    return str(getattr(inner, "strerror", None) or inner)


def _too_small(error: OSError, folder: Path) -> str:
    room = room_in_words(error, folder).rstrip(".")
    return f"the disk of {folder} is full. {room}. Free disk space there, or choose another place"


def _require_room(folder: Path, n_bytes: int) -> None:
    """Refuse a file of which more is missing than the disk takes; how much of it a user may fill is seen later."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise NoPlaceError(
            f"{-(-n_bytes // MIB):,} MiB are to come, and {free // MIB:,} MiB are free on the disk of {folder}. Free "
            "disk space there, or choose another place"
        )


def _receive(url: str, token: str | None, part: Path, progress: Progress | None, stage: str) -> bool:
    """Receive what is missing over one connection; return whether the file is whole."""
    start = part.stat().st_size if part.is_file() else 0
    request = _request(url, token, start)
    # A fresh opener reads the proxies of the environment now; the shared one keeps those it first saw.
    with urllib.request.build_opener().open(request, timeout=_TIMEOUT_S) as answer:
        if answer.status != 206:
            start = 0
        is_page = answer.headers.get_content_type() == "text/html"
        if is_page or (start == 0 and _PAGE.match(answer.peek(_PAGE_BYTES))):
            raise WeightsError(
                f"{_shown(url)}: a page came in place of the file (does the network here ask to log in first?)"
            )
        total = _total_bytes(answer, start)
        done = start
        if not start:
            part.unlink(missing_ok=True)  # The room that it takes is room for what comes.
        _require_room(part.parent, total - done)
        with part.open("ab" if start else "wb") as stream:
            report(progress, stage, done // MIB, total // MIB)
            while block := answer.read(_BLOCK):
                stream.write(block)
                done += len(block)
                report(progress, stage, done // MIB, total // MIB)
    return total == 0 or done == total


def _total_bytes(answer: http.client.HTTPResponse, start: int) -> int:
    """Return the length of the whole file, or 0 where the server does not say."""
    found = _TOTAL.search(answer.headers.get("Content-Range", ""))
    if found:
        return int(found[1])
    length = answer.headers.get("Content-Length")
    return start + int(length) if length else 0
