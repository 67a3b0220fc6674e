"""Downloading from a server on this machine: whole, broken off, damaged, through a proxy, from the hub."""

from __future__ import annotations

import errno
import hashlib
import http.client
import inspect
import os
import re
import shutil
import socket
import sys
import threading
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest

from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.weights import hub
from napari_dinoad.backbones.weights.download import NoPlaceError, download
from napari_dinoad.backbones.weights.official import OfficialFile
from napari_dinoad.backbones.weights.store import find_weights, local_weights
from napari_dinoad.errors import Cancelled, DinoadError, WeightsError, WeightsNotFoundError
from patience import PATIENCE_S, wait_until

SPEC = find_backbone("dinov2_vits14")
CONTENT = os.urandom(1 << 20) + b"the last bytes"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT under every address, as an origin, a proxy, or the model hub would."""

    def do_HEAD(self):
        self.server.heads.append(self.path)
        if self.server.fault == "hangs up":
            return
        if self.server.fault == "goes in circles":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if self.server.fault == "wants an agreement":
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.send_header("ETag", f'"{self.server.announced}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if self.server.store:
            self.send_header("X-Linked-Size", str(len(CONTENT)))
            self.send_header("X-Linked-ETag", f'"{self.server.announced}"')
            self.send_header("Location", f"{self.server.store}{self.path}?signature=secret")
        self.end_headers()

    def do_CONNECT(self):
        self.server.tunnels.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.close_connection = False

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        self.server.tokens.append(self.headers.get("Authorization"))
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = 0
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.server.resumes:
            start = int(asked[1])
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = start + self.server.breaks_after if self.server.breaks_after else len(CONTENT)
        with suppress(ConnectionError):  # who is cancelled goes away
            middle = (start + end) // 2
            self.wfile.write(CONTENT[start:middle])
            self.server.may_end.wait(PATIENCE_S)
            self.wfile.write(CONTENT[middle:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.status, server.resumes, server.breaks_after = [], 200, True, 0
    server.content_type = "application/octet-stream"
    server.announced, server.fault, server.heads, server.tokens, server.store = SHA256, "", [], [], ""
    server.tunnels, server.tells_length = [], True
    server.may_end = threading.Event()
    server.may_end.set()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_whole_file_comes_with_progress(server, tmp_path):
    events = []
    target = download(
        f"{server.url}/w.pth", tmp_path / "deep" / "w.pth", SHA256, events.append, "Downloading x"
    )
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["w.pth"]
    assert {event.stage for event in events} == {"Downloading x"}
    assert (events[0].done, events[-1].done, events[-1].total) == (0, 1, 1)


def test_a_server_that_does_not_tell_the_length_of_a_file_sends_it_once(server, tmp_path):
    server.tells_length = False
    events = []
    target = download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256, events.append)
    assert target.read_bytes() == CONTENT
    assert {event.total for event in events} == {0}
    assert len(server.requests) == 1


def test_a_broken_connection_is_made_again_where_it_broke(server, tmp_path):
    server.breaks_after = 400_000
    assert download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=400000-", "bytes=800000-"]


def test_two_processes_bring_a_file_once(server, tmp_path, caplog):
    """Jobs of a cluster that begin together: both appended to one part, and it came damaged."""
    server.may_end.clear()
    target, came = tmp_path / "w.pth", []
    threads = [
        threading.Thread(target=lambda: came.append(download(f"{server.url}/w.pth", target, SHA256)))
        for _ in range(2)
    ]
    threads[0].start()
    wait_until(lambda: server.requests and (tmp_path / "w.pth.part").is_file())
    threads[1].start()
    wait_until(lambda: "Another process is downloading w.pth" in caplog.text)
    server.may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert came == [target, target] and target.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_a_disk_without_locks_takes_a_file(server, tmp_path, monkeypatch):
    def refuse(path, *, wait):
        raise DinoadError("Cannot lock")

    monkeypatch.setattr("napari_dinoad.backbones.weights.download.locked", refuse)
    assert download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256).read_bytes() == CONTENT


def test_a_cancelled_download_goes_on_in_the_next_call(server, tmp_path):
    def cancel(event):
        if event.done:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256, cancel)
    assert not (tmp_path / "w.pth").exists()
    assert (tmp_path / "w.pth.part").read_bytes() == CONTENT[: 1 << 20]
    download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256)
    assert server.requests[-1][1] == f"bytes={1 << 20}-"


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    server.resumes = False
    (tmp_path / "w.pth.part").write_bytes(b"wrong beginning")
    assert download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256).read_bytes() == CONTENT


def test_more_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(CONTENT + b"more")
    assert download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256).read_bytes() == CONTENT


def test_a_whole_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    assert download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=utf-8"])
def test_the_page_of_a_network_that_asks_to_log_in_leaves_what_has_come(server, tmp_path, content_type):
    server.resumes, server.content_type = False, content_type
    part = tmp_path / "w.pth.part"
    part.write_bytes(CONTENT[:1000])
    with pytest.raises(WeightsError, match="a page came in place of the file"):
        download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256)
    assert part.read_bytes() == CONTENT[:1000]


def test_a_page_that_is_told_as_a_file_leaves_what_has_come(server, tmp_path, monkeypatch):
    server.resumes = False
    monkeypatch.setattr(sys.modules[__name__], "CONTENT", b"<!DOCTYPE html><html>Please log in</html>" * 10)
    part = tmp_path / "w.pth.part"
    part.write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match="a page came in place of the file"):
        download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256)
    assert part.read_bytes() == b"x" * 1000


def test_a_line_that_breaks_often_but_brings_much_is_gone_on_with(server, tmp_path, monkeypatch):
    """A proxy that cut each connection short ended a download of some GB after five."""
    monkeypatch.setattr("napari_dinoad.backbones.weights.download.MIB", 100_000)
    server.breaks_after = 120_000
    assert download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 9


def test_a_disk_that_is_too_small_is_told_before_it_is_filled(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 19))
    with pytest.raises(
        NoPlaceError, match=r"2 MiB are to come, and 0 MiB are free on the disk of .*Free disk space"
    ):
        download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_runs_full_is_not_left_full(server, tmp_path, monkeypatch):
    def fill(progress, stage, done, total):
        if done:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("napari_dinoad.backbones.weights.download.report", fill)
    with pytest.raises(NoPlaceError, match="is full"):
        download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_another_file_is_refused_and_removed(server, tmp_path):
    with pytest.raises(WeightsError, match="damaged or is another one"):
        download(f"{server.url}/w.pth", tmp_path / "w.pth", "0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_the_server_says_is_told(server, tmp_path, status):
    server.status = status
    with pytest.raises(WeightsError, match=f"the server says {status}"):
        download(f"{server.url}/w.pth", tmp_path / "w.pth", SHA256)


def test_a_server_that_is_gone_is_told(server, tmp_path):
    with pytest.raises(WeightsError, match="refused"):
        download("http://127.0.0.1:9/w.pth", tmp_path / "w.pth", SHA256)


def test_the_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    download("http://weights.invalid/w.pth", tmp_path / "w.pth", SHA256)
    assert server.requests == [("http://weights.invalid/w.pth", None)]


def test_what_broke_off_behind_a_proxy_is_asked_for_again_through_a_tunnel(server, tmp_path, monkeypatch):
    """The request that had gone through the proxy was used again: for another address, then without TLS."""

    def without_tls(handler, request):
        return handler.do_open(http.client.HTTPConnection, request)

    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", without_tls)
    monkeypatch.setenv("https_proxy", server.url)
    server.breaks_after = 400_000
    url = "https://weights.example:443/w.pth"
    assert download(url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert server.tunnels == ["weights.example:443"] * 3
    assert [path for path, _ in server.requests] == ["/w.pth"] * 3


def close_hub_session():
    from huggingface_hub import utils

    getattr(utils, "close_session", getattr(utils, "reset_sessions", None))()


@pytest.fixture
def online(server, monkeypatch):
    """The test server in place of Meta's and of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    # The hub's client before 1.0 has a copy of it.
    copied = "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE"
    monkeypatch.setattr(copied, template, raising=False)
    official = OfficialFile("dinov2_vits14_pretrain.pth", SHA256, f"{server.url}/dinov2_vits14_pretrain.pth")
    monkeypatch.setattr(hub, "official_file", lambda spec: official if spec == SPEC else None)
    return server


def test_the_official_file_is_downloaded_once_and_its_licence_is_named(online, caplog):
    events = []
    found = find_weights(SPEC, progress=events.append)
    assert found.source == "download"
    assert found.path.read_bytes() == CONTENT
    assert "licence of the weights: Apache-2.0" in caplog.text
    assert events[-1].stage == "Downloading dinov2_vits14"
    assert local_weights(SPEC).path == found.path
    assert len(online.requests) == 1


def test_the_hub_is_the_second_source(online, monkeypatch, caplog):
    monkeypatch.setattr(hub, "official_file", lambda spec: None)
    events = []
    spec = find_backbone("dinov3_vits16")
    found = find_weights(spec, progress=events.append)
    assert found.path.read_bytes() == CONTENT
    assert "DINOv3 License" in caplog.text
    repository = "/timm/vit_small_patch16_dinov3.lvd1689m/resolve/"
    assert any(repository in path for path, _ in online.requests)
    assert {event.stage for event in events} == {"Downloading dinov3_vits16"}
    assert (events[0].done, events[-1].done, events[-1].total) == (0, 1, 1)
    assert local_weights(spec).source == "cache"


def stop_after_a_block(event):
    if event.done:
        raise Cancelled("stop")


def hub_cache(repository):
    return Path(huggingface_hub.constants.HF_HUB_CACHE, "models--" + repository.replace("/", "--"))


def test_an_interrupted_download_from_the_hub_goes_on_in_the_next_call(online):
    spec = find_backbone("dinov3_vits16")
    with pytest.raises(Cancelled):
        find_weights(spec, progress=stop_after_a_block)
    assert local_weights(spec) is None
    before = len(online.requests)
    events = []
    found = find_weights(spec, progress=events.append)
    assert [asked for _, asked in online.requests[before:]] == [f"bytes={1 << 20}-"]
    assert found.path.read_bytes() == CONTENT
    assert (events[0].done, events[-1].done, events[-1].total) == (1, 1, 1)
    blobs = hub_cache(hub.hub_repositories(spec)[0]) / "blobs"
    assert [path.name for path in blobs.iterdir()] == [SHA256]
    assert local_weights(spec).path.samefile(blobs / SHA256)


def test_a_connection_to_the_hub_that_breaks_for_good_keeps_what_has_come(online, monkeypatch):
    spec = find_backbone("dinov3_vits16")
    online.breaks_after = 100_000
    with pytest.raises(
        WeightsNotFoundError, match=f"{hub.hub_repositories(spec)[0]}: .*the connection broke"
    ):
        find_weights(spec)
    part = hub_cache(hub.hub_repositories(spec)[0]) / "blobs" / f"{SHA256}.part"
    assert part.read_bytes() == CONTENT[:500_000]
    online.breaks_after = 0
    assert find_weights(spec).path.read_bytes() == CONTENT
    assert online.requests[-1][1] == "bytes=500000-"


def test_what_is_left_of_another_file_is_not_gone_on_from(online):
    spec = find_backbone("dinov3_vits16")
    part = hub_cache(hub.hub_repositories(spec)[0]) / "blobs" / f"{SHA256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    assert find_weights(spec).path.read_bytes() == CONTENT
    assert not part.exists()


@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_a_token_goes_to_the_hub_and_not_to_its_store(online, monkeypatch, is_elsewhere):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    online.store = online.url.replace("127.0.0.1", "localhost" if is_elsewhere else "127.0.0.1")
    assert find_weights(find_backbone("dinov3_vits16")).path.read_bytes() == CONTENT
    assert online.tokens == [None if is_elsewhere else "Bearer hf_secret"]
    online.status = 403
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(find_backbone("dinov3_vitb16"))
    assert "403" in caught.value.download_error
    assert "secret" not in str(caught.value)


def test_where_links_cannot_be_made_there_is_one_copy(online, monkeypatch):
    """The client warns then, as on Windows, of files that are there twice; a warning is an error here."""

    def refuse(*_, **__):
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr("huggingface_hub.file_download._are_symlinks_supported_in_dir", {})
    spec = find_backbone("dinov3_vits16")
    found = find_weights(spec)
    assert found.path.read_bytes() == CONTENT
    assert not found.path.is_symlink()
    assert [*(hub_cache(hub.hub_repositories(spec)[0]) / "blobs").iterdir()] == []
    assert local_weights(spec).path == found.path


def test_what_only_the_client_can_reach_the_client_downloads(online, monkeypatch):
    def refuse(*arguments):
        raise WeightsError("certificate verify failed")

    monkeypatch.setattr(hub, "download", refuse)
    assert find_weights(find_backbone("dinov3_vits16")).path.read_bytes() == CONTENT


def test_a_file_of_which_the_hub_tells_no_sha256_the_client_downloads(online):
    """Small files have the hash of Git there; it is none of the file alone."""
    online.announced = "a" * 40
    spec = find_backbone("dinov3_vits16")
    assert find_weights(spec).path.read_bytes() == CONTENT
    assert local_weights(spec).source == "cache"
    assert len([path for path, _ in online.requests if path.endswith("/model.safetensors")]) == 1


@pytest.mark.skipif(
    "tqdm_class" not in inspect.signature(huggingface_hub.hf_hub_download).parameters,
    reason="the hub's client before 1.0 tells nothing of a download",
)
def test_a_download_by_the_client_can_be_cancelled(online):
    def cancel(event):
        if event.done:
            raise Cancelled

    online.announced = "a" * 40
    spec = find_backbone("dinov3_vits16")
    with pytest.raises(Cancelled):
        find_weights(spec, progress=cancel)
    assert local_weights(spec) is None, "it was stopped, and not told once all was there"


def test_a_file_that_is_not_what_the_hub_announced_is_removed(online, monkeypatch):
    monkeypatch.setattr(hub, "official_file", lambda spec: None)
    online.announced = "0" * 64
    with pytest.raises(WeightsNotFoundError, match="damaged"):
        find_weights(find_backbone("dinov3_vits16"))
    assert local_weights(find_backbone("dinov3_vits16")) is None


def test_every_source_that_failed_is_named(online):
    online.status = 403
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(SPEC)
    for part in ("says 403", "timm/vit_small_patch14_dinov2", "facebook/dinov2-small"):
        assert part in caught.value.download_error


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        # Clients before 1.0 say it in other words.
        ("hangs up", "disconnected|Connection aborted"),
        ("goes in circles", "redirects|recursion depth"),
        ("wants an agreement", "Agree to the licence .* HF_TOKEN"),
        ("is no proxy", "refused"),
    ],
)
def test_a_fault_of_the_network_is_told_and_the_next_repository_is_tried(online, monkeypatch, fault, reason):
    monkeypatch.setattr(hub, "official_file", lambda spec: None)
    online.fault = fault
    if fault == "is no proxy":
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    # The hub's client keeps its connections, and with them the proxies that it first saw.
    close_hub_session()
    with pytest.raises(WeightsNotFoundError, match=reason) as caught:
        find_weights(SPEC)
    close_hub_session()
    for repository in hub.hub_repositories(SPEC):
        assert f"{repository}: " in caught.value.download_error
    assert len(caught.value.ways) == 3


def test_what_goes_through_all_proxy_is_not_probed(online, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("probed"))
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    hub._require_reachable("https://weights.invalid")


def test_a_hub_client_without_newer_functions_will_do(online, monkeypatch):
    monkeypatch.delattr(huggingface_hub.constants, "is_offline_mode", raising=False)
    assert find_weights(SPEC).source == "download"


def test_where_nothing_can_be_kept_the_next_source_is_tried(online, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    assert find_weights(SPEC).path.is_relative_to(huggingface_hub.constants.HF_HUB_CACHE)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    before = len(online.requests)
    with pytest.raises(WeightsNotFoundError, match=r"TORCH_HOME.*HF_HOME"):
        find_weights(SPEC)
    assert len(online.requests) == before


def test_what_has_come_from_other_sources_goes_once_one_brought_it_all(online, tmp_path):
    torch_part = tmp_path / "torch" / "hub" / "checkpoints" / "dinov2_vits14_pretrain.pth.part"
    hub_part = hub_cache("facebook/dinov2-small") / "blobs" / f"{'1' * 64}.part"
    other = hub_cache("facebook/dinov2-base") / "blobs" / f"{'1' * 64}.part"
    for part in (torch_part, hub_part, other):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"some")
    find_weights(SPEC)
    assert [part.exists() for part in (torch_part, hub_part, other)] == [False, False, True]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HF_ENDPOINT", "mirror:80", "HF_ENDPOINT is 'mirror:80'; expected an address"),
        ("SSL_CERT_FILE", "/nowhere.pem", "SSL_CERT_FILE names /nowhere.pem; expected a file"),
    ],
)
def test_variables_that_make_no_sense_are_named(online, monkeypatch, variable, value, told):
    monkeypatch.setenv(variable, value)
    if variable == "HF_ENDPOINT":
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", value)
    with pytest.raises(WeightsNotFoundError, match=told):
        find_weights(SPEC)


def test_offline_mode_asks_no_server(online, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsNotFoundError, match="HF_HUB_OFFLINE"):
        find_weights(SPEC)
    assert online.requests == []


def test_an_unreachable_server_is_told_at_once(online, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsNotFoundError, match=r"127\.0\.0\.1 cannot be reached"):
        find_weights(find_backbone("dinov3_vits16"))


def test_torch_hub_s_folder_is_where_torch_says(monkeypatch):
    import torch

    for variables in ({"TORCH_HOME": "/a/b"}, {"XDG_CACHE_HOME": "/c"}, {}):
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert hub.torch_hub_folder() == Path(torch.hub.get_dir(), "checkpoints")
