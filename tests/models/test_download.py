"""Downloads from a server on this machine: whole, cut, refused, wrong; and what is in the cache afterwards."""

import dataclasses
import hashlib
import http.server
import io
import os
import subprocess
import sys
import threading
import time
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import models
from jaxinterp.models._files import _download
from jaxinterp.models._files._download import fetch, published_weights, weights_file
from jaxinterp.models._files._published import PUBLISHED, Published, published
from jaxinterp.models._network import ConvNet

BODY = os.urandom(3 * 2**20 + 17)
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY as a script says: one word a request, the last of them for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.body, self.asked = ["fine"], BODY, []
        self.lock = threading.Lock()

    def entry(self, digest: str = DIGEST) -> Published:
        url = f"http://127.0.0.1:{self.server_address[1]}/models/net-12345678.pth"
        return Published("net", url, digest, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server: Any = self.server
        with server.lock:
            word = server.script.pop(0) if len(server.script) > 1 else server.script[0]
            server.asked.append((word, self.headers.get("Range")))
        if word.isdecimal():
            return self.send_error(int(word))
        body, asked = server.body, self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and word != "no ranges" else 0
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start or (asked and word != "no ranges") else 200)
        if word == "other range":
            start = 1
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if word == "endless":
            self.end_headers()
        else:
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
        end = len(body) if word != "cut" else start + (len(body) - start) // 2
        for at in range(start, end, 2**18):
            self.wfile.write(body[at : min(at + 2**18, end)])
            if word == "slow":
                time.sleep(0.02)
        self.close_connection = True

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("JAXINTERP_OFFLINE", "JAXINTERP_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_download, "PAUSE", 0.0)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("expected ") and text.endswith(".") and text.isprintable()
    return text


def test_a_file_is_fetched_once(server, tmp_path):
    path = fetch(server.entry(), cache=tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "net-12345678.pth"
    assert path.read_bytes() == BODY
    assert fetch(server.entry(), cache=tmp_path / "a" / "b") == path
    assert server.asked == [("fine", None)]
    assert files(path.parent) == [path.name]


def test_the_first_digits_are_enough_where_no_more_are_known(server, tmp_path):
    path = fetch(server.entry(DIGEST[:8]), cache=tmp_path)
    assert path.read_bytes() == BODY
    wrong = "0" * 8 if not DIGEST.startswith("0" * 8) else "1" * 8
    path.unlink()
    text = refusal(ValueError, lambda: fetch(server.entry(wrong), cache=tmp_path))
    assert f"a SHA-256 that begins with {wrong}, got {DIGEST}" in text


@pytest.mark.parametrize("script", [["cut", "fine"], ["cut", "cut", "500", "cut", "fine"], ["503", "429", "cut", "slow"]])
def test_a_cut_download_is_resumed(server, tmp_path, script):
    server.script = list(script)
    assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY
    assert [word for word, _ in server.asked] == script
    starts = [0 if asked is None else int(asked[6:-1]) for _, asked in server.asked]
    assert starts == sorted(starts) and starts[-1] > 0
    assert files(tmp_path) == ["net-12345678.pth"]


def test_a_cut_download_leaves_nothing_under_the_final_name_and_the_next_run_resumes(server, tmp_path):
    server.script = ["cut", "500"]
    text = refusal(ConnectionError, lambda: fetch(server.entry(), cache=tmp_path))
    assert f"by hand to {tmp_path / 'net-12345678.pth'}" in text and server.entry().url in text
    assert files(tmp_path) == ["net-12345678.pth.part"]
    half = (tmp_path / "net-12345678.pth.part").stat().st_size
    assert 0 < half < len(BODY)
    server.script, server.asked = ["fine"], []
    assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY
    assert server.asked == [("fine", f"bytes={half}-")]
    assert files(tmp_path) == ["net-12345678.pth"]


@pytest.mark.parametrize("script", [["cut", "no ranges"], ["cut", "other range", "fine"]])
def test_a_server_that_ignores_ranges_begins_again(server, tmp_path, script):
    server.script = list(script)
    assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY
    assert [word for word, _ in server.asked] == script
    assert files(tmp_path) == ["net-12345678.pth"]


def test_a_server_that_says_no_length(server, tmp_path):
    server.script = ["endless"]
    assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY


def test_a_partial_file_of_another_file_is_given_up(server, tmp_path):
    (tmp_path / "net-12345678.pth.part").write_bytes(b"other bytes")
    assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY
    assert [asked for _, asked in server.asked] == ["bytes=11-", None]
    for size in (len(BODY), len(BODY) + 5):  # whole, and longer than the file
        (tmp_path / "net-12345678.pth").unlink()
        (tmp_path / "net-12345678.pth.part").write_bytes((BODY + b"12345")[:size])
        assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY
    assert files(tmp_path) == ["net-12345678.pth"]


def test_an_abandoned_file_is_taken_over_and_a_living_one_is_not(server, tmp_path):
    dead, alive = tmp_path / "net-12345678.pth.dead.part", tmp_path / "net-12345678.pth.alive.part"
    for path in (dead, alive):
        path.write_bytes(BODY[:1000])
    os.utime(dead, (1, 1))
    assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY
    assert server.asked == [("fine", "bytes=1000-")]
    assert files(tmp_path) == ["net-12345678.pth", "net-12345678.pth.alive.part"]
    assert alive.read_bytes() == BODY[:1000]


def test_a_wrong_digest_is_refused_with_both(server, tmp_path):
    server.body = b"another file"
    text = refusal(ValueError, lambda: fetch(server.entry(), cache=tmp_path))
    assert DIGEST in text and hashlib.sha256(b"another file").hexdigest() in text and "partial file is removed" in text
    assert files(tmp_path) == []


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_missing_file_is_asked_for_once(server, tmp_path, code):
    server.script = [str(code)]
    text = refusal(OSError, lambda: fetch(server.entry(), cache=tmp_path))
    assert f"got HTTP {code}; download {server.entry().url} by hand to {tmp_path / 'net-12345678.pth'}" in text
    assert len(server.asked) == 1 and files(tmp_path) == []


def test_no_server(server, tmp_path):
    entry = server.entry()
    server.shutdown()
    server.server_close()
    text = refusal(ConnectionError, lambda: fetch(entry, cache=tmp_path))
    assert "got Connection refused in 5 attempts" in text and str(tmp_path / entry.file) in text
    assert files(tmp_path) == []


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_the_network_is_never_touched(server, tmp_path, monkeypatch, how):
    offline = how == "argument"
    if not offline:
        monkeypatch.setenv("JAXINTERP_OFFLINE", "1")
    path = tmp_path / "net-12345678.pth"
    text = refusal(FileNotFoundError, lambda: fetch(server.entry(), cache=tmp_path, offline=offline))
    assert f"at {path}, got no file" in text and server.entry().url in text
    path.write_bytes(BODY)
    assert fetch(server.entry(), cache=tmp_path, offline=offline) == path
    path.write_bytes(BODY[:-1])
    text = refusal(ValueError, lambda: fetch(server.entry(), cache=tmp_path, offline=offline))
    assert DIGEST in text and hashlib.sha256(BODY[:-1]).hexdigest() in text and str(path) in text
    assert server.asked == []


@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(server, tmp_path, digits):
    path = fetch(server.entry(DIGEST[:digits]), cache=tmp_path)
    path.write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    assert fetch(server.entry(DIGEST[:digits]), cache=tmp_path).read_bytes() == BODY
    assert len(server.asked) == 2


CHILD = """
import sys
from jaxinterp.models._files._download import fetch
from jaxinterp.models._network import ConvNet
from jaxinterp.models._files._published import Published
url, digest, folder = sys.argv[1:]
fetch(Published("net", url, digest, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False), cache=folder)
"""


def test_processes_and_threads_do_not_disturb_one_another(server, tmp_path):
    server.script = ["cut", "slow"]
    command = [sys.executable, "-c", CHILD, server.entry().url, DIGEST, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(server.entry(), cache=tmp_path).read_bytes() == BODY))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [process.wait(60) for process in processes] == [0, 0]
    assert found == [True] * 3
    assert files(tmp_path) == ["net-12345678.pth"]


def test_a_killed_process_leaves_nothing_under_the_final_name(server, tmp_path):
    server.script = ["slow"]
    process = subprocess.Popen([sys.executable, "-c", CHILD, server.entry().url, DIGEST, str(tmp_path)])
    while process.poll() is None and not list(tmp_path.glob("*.part")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert all(path.suffix == ".part" or path.name.startswith("tmp") for path in tmp_path.iterdir())
    assert fetch(server.entry(), cache=tmp_path).read_bytes() == BODY


def test_the_bar_is_for_terminals_only(server, tmp_path, monkeypatch, capsys):
    for digits in (8, 64):
        fetch(server.entry(DIGEST[:digits]), cache=tmp_path / str(digits))
    assert capsys.readouterr() == ("", "")
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    fetch(server.entry(), cache=tmp_path / "terminal")
    assert "net-12345678.pth" in screen.getvalue() and "B/s" in screen.getvalue()


def test_the_cache_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXINTERP_CACHE", str(tmp_path / "mine"))
    assert fetch(server.entry()) == tmp_path / "mine" / "net-12345678.pth"
    monkeypatch.delenv("JAXINTERP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert fetch(server.entry()).is_relative_to(tmp_path / "user")
    (tmp_path / "file").write_bytes(b"")
    text = refusal(OSError, lambda: fetch(server.entry(), cache=tmp_path / "file" / "x"))
    assert "expected a cache folder that can be written" in text and "JAXINTERP_CACHE" in text


def test_what_weights_mean(server, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(_download, "fetch", lambda entry: asked.append(entry.name) or tmp_path / entry.file)
    monkeypatch.setattr(_download.importlib.util, "find_spec", lambda name: name)
    for weights, name, expected in (
        ("imagenet", "resnet50", "resnet50.tv_in1k"),
        ("imagenet", "resnet34", "resnet34"),
        ("resnet18.tv_in1k", "resnet50", "resnet18.tv_in1k"),
        ("resnet50.imagenet1k_v2", "resnet50", "resnet50.imagenet1k_v2"),
    ):
        assert weights_file(weights, name) == tmp_path / PUBLISHED[expected].file
        assert published_weights(weights, name) is PUBLISHED[expected]
        assert asked.pop() == expected
    for path in (tmp_path / "imagenet", str(tmp_path / "a.pth"), "./imagenet", "a.pth"):
        assert str(weights_file(path, "resnet50")) == str(path).removeprefix("./")
        assert published_weights(path, "resnet50") is None
    text = refusal(ValueError, lambda: weights_file("imagnet", "resnet50"))
    assert "got 'imagnet', which is none; did you mean 'imagenet'?" in text
    assert "got 'lenet'" in refusal(ValueError, lambda: weights_file("imagenet", "lenet"))
    assert asked == []


def test_without_torch_nothing_is_downloaded_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "fetch", lambda entry: tmp_path / entry.file)
    monkeypatch.setattr(_download.importlib.util, "find_spec", lambda name: None)
    assert weights_file("imagenet", "resnet50").name == "resnet50.tv_in1k.safetensors"
    text = refusal(ValueError, lambda: weights_file("resnet50", "resnet50"))
    assert 'write pip install "jaxinterp[torch]", or weights="resnet50.tv_in1k", the same weights as safetensors.' in text
    assert refusal(ValueError, lambda: weights_file("imagenet", "vgg11")).endswith('write pip install "jaxinterp[torch]".')
    assert weights_file("resnet50.tv_in1k", "resnet50").name == "resnet50.tv_in1k.safetensors"


def test_a_network_with_its_published_weights(server, tmp_path, monkeypatch):
    """From the builder's one word to the logits, over the wire."""
    original = models.inception_v3(width=1 / 64, image_size=75, aux=False, num_classes=6, key=jax.random.key(0))
    models.save(original, tmp_path / "weights.safetensors")
    server.body = (tmp_path / "weights.safetensors").read_bytes()
    entry = server.entry(hashlib.sha256(server.body).hexdigest())
    entry = dataclasses.replace(entry, name="inception_v3.tv_in1k", url=entry.url.replace(".pth", ".safetensors"))
    monkeypatch.setitem(PUBLISHED, "inception_v3.tv_in1k", dataclasses.replace(entry, mean=(0.1, 0.2, 0.3), background=True))
    monkeypatch.setenv("JAXINTERP_CACHE", str(tmp_path / "cache"))
    knobs: dict[str, Any] = {"width": 1 / 64, "image_size": 75, "aux": False, "num_classes": 5}
    model = models.inception_v3(weights="imagenet", **knobs)
    assert server.asked == [("fine", None)]
    assert isinstance(model.network, ConvNet)
    assert (model.network.mean, model.network.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    kernel = original.params["fc"]["kernel"]
    np.testing.assert_array_equal(model.params["fc"]["kernel"], kernel[:, 1:])  # the first class is the background
    monkeypatch.setenv("JAXINTERP_OFFLINE", "1")
    again = models.inception_v3(weights="imagenet", **knobs, mean=(0.0, 0.0, 0.0))
    assert isinstance(again.network, ConvNet) and again.network.mean == (0.0, 0.0, 0.0)
    headed = models.inception_v3(weights="imagenet", **knobs, head=3, key=jax.random.key(0))
    assert headed.params["fc"]["kernel"].shape == (kernel.shape[0], 3)
    assert models.abstract(lambda: models.resnet34(weights="imagenet")).num_classes == 1000  # fetches nothing
    with pytest.raises(FileNotFoundError, match=r"expected the weights resnet18\.tv_in1k at .*, got no file and no leave"):
        models.resnet18(weights="imagenet")
    assert len(server.asked) == 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_name_is_that_of_a_network(name):
    architecture, entry = name.partition(".")[0], PUBLISHED[name]
    knobs: dict[str, Any] = {"batch_norm": True} if architecture.endswith("_bn") else {}
    model = models.abstract(lambda: getattr(models, architecture.removesuffix("_bn"))(weights=name, **knobs))
    assert isinstance(model.network, ConvNet)
    assert (model.network.mean, model.network.std) == (entry.mean, entry.std)
    assert (model.image_size, model.num_classes) == (entry.image_size, entry.num_classes)


def test_the_registry():
    assert published("vgg16").url == "https://download.pytorch.org/models/vgg16-397923af.pth"
    assert "did you mean 'resnet50'?" in refusal(ValueError, lambda: published("resnet5O"))
    assert len({entry.file for entry in PUBLISHED.values()}) == len(PUBLISHED)
    for name, entry in PUBLISHED.items():
        assert entry.name == name and entry.url.startswith("https://")
        assert len(entry.sha256) in (8, 64) and set(entry.sha256) <= set("0123456789abcdef")
        assert entry.num_classes == 1000 and entry.image_size == (299 if "inception" in name else 224)
        official = entry.file.removesuffix(".pth").rpartition("-")[2]
        assert entry.file.endswith(".safetensors") or entry.sha256.startswith(official)
        assert entry.file.endswith(".safetensors") <= (len(entry.sha256) == 64)
        half = name == "googlenet" or "inception" in name or name.startswith("resnetv2")
        assert (entry.mean == (0.5, 0.5, 0.5)) == half == (entry.std == (0.5, 0.5, 0.5))
        assert entry.background == (".tf_" in name)
