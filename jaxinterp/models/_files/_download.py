"""Published weights on this machine: downloaded once, verified always, resumed where a download was cut."""

import contextlib
import importlib.util
import os
import pathlib
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

from jaxinterp._base import did_you_mean
from jaxinterp.models._files._entries import shown
from jaxinterp.models._files._published import PUBLISHED, Published, published

ATTEMPTS = 5
PAUSE = 0.5
"""Seconds before the second attempt; before each further one twice as long."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up."""

ABANDONED = 600.0
"""Seconds without a byte written after which a partial file belongs to nobody; many times TIMEOUT."""

LARGEST = 2**32
"""Bytes of the largest file that is downloaded."""


def weights_file(weights: str | os.PathLike[str], name: str) -> pathlib.Path:
    """The file of weights that is meant, downloaded where it is a published one.

    Args:
        weights: "imagenet" for the published weights of the architecture `name`, the name of any published weights, or a
            path; a `pathlib.Path` always is a path.
        name: the architecture, such as "resnet50".

    Raises:
        ValueError: neither a published name nor a path that is there; or a file that needs PyTorch, without it.
        OSError: it cannot be fetched.
    """
    entry = published_weights(weights, name)
    if entry is not None:
        if entry.file.endswith(".pth") and importlib.util.find_spec("torch") is None:
            twin = next((other for other in PUBLISHED if other.startswith(f"{entry.name}.tv_")), None)
            raise ValueError(
                f'expected PyTorch, which alone reads {entry.file}, got none; write pip install "jaxinterp[torch]"'
                + (f', or weights="{twin}", the same weights as safetensors.' if twin else ".")
            )
        return fetch(entry)
    path = pathlib.Path(weights)
    if isinstance(weights, str) and not path.exists() and not {"/", os.sep, "."} & set(weights):
        names = ["imagenet", *PUBLISHED]
        raise ValueError(
            f"expected weights 'imagenet', a published name or a path, got {weights!r}, which is none"
            f"{did_you_mean(weights, names)}."
        )
    return path


def published_weights(weights: str | os.PathLike[str], name: str) -> Published | None:
    """The published weights that are meant, or None where a path is: for what they expect of images.

    "imagenet" means torchvision's first weights of the architecture, as safetensors where those are published too.

    Args:
        weights: as of `weights_file`.
        name: the architecture.

    Raises:
        ValueError: "imagenet" of an architecture that has none.
    """
    if not isinstance(weights, str):
        return None
    if weights != "imagenet":
        return PUBLISHED.get(weights)
    return PUBLISHED.get(f"{name}.tv_in1k") or published(name)


def fetch(published: Published, *, cache: str | os.PathLike[str] | None = None, offline: bool = False) -> pathlib.Path:
    """The verified file of published weights, from the cache or the web.

    The digest is checked each time, and before a download gets its final name. A cut download is tried again from where
    it stopped, in this process or in the next one; several processes at once do not disturb one another.

    Args:
        published: what to fetch.
        cache: the folder; by default $JAXINTERP_CACHE, or else the user's cache folder.
        offline: never touch the network; $JAXINTERP_OFFLINE=1 says the same.

    Returns:
        The path of the file.

    Raises:
        ValueError: a file whose digest is wrong.
        OSError: it is not there and cannot be downloaded; the message says where to put it by hand.
    """
    import pooch

    entry = published
    folder = pathlib.Path(cache or os.environ.get("JAXINTERP_CACHE") or pooch.os_cache("jaxinterp")).expanduser().absolute()
    path = folder / entry.file
    offline = offline or os.environ.get("JAXINTERP_OFFLINE", "0") not in ("", "0")
    if path.is_file():
        found = pooch.file_hash(os.fspath(path))
        if found.startswith(entry.sha256):
            return path
        if offline:
            raise ValueError(f"{_mismatch(entry, found, path)}; delete it and run again with the network, or replace it.")
        path.unlink()
    if offline:
        raise FileNotFoundError(
            f"expected the weights {entry.name} at {path}, got no file and no leave to use the network; "
            f"put {entry.url} there, or unset JAXINTERP_OFFLINE."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"expected a cache folder that can be written, got {folder}: {error.strerror}; write JAXINTERP_CACHE=<folder>."
        ) from error

    def download(url: str, output_file: Any, _: object) -> None:
        with _partial(folder, entry.file) as part:
            _transfer(entry, url, part, path)
            os.replace(part, output_file)

    known = f"sha256:{entry.sha256}" if len(entry.sha256) == 64 else None
    downloader: Any = download  # pooch calls it with these three
    with _quiet(pooch.get_logger()):
        pooch.retrieve(entry.url, known, fname=entry.file, path=folder, downloader=downloader)
    return path


def _transfer(entry: Published, url: str, part: pathlib.Path, path: pathlib.Path) -> None:
    """Downloads until the partial file is whole and verified.

    Raises:
        ValueError: it is whole and another file; it is removed.
        OSError: it could not be downloaded; what came is kept.
    """
    import pooch
    import requests

    byhand = f"download {url} by hand to {path}, or try again"
    error: Exception | None = None
    resumed = False
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE * 2 ** (attempt - 1) if attempt else 0)
        try:
            resumed = _receive(url, part, entry.file)
        except (requests.RequestException, _CutError) as failure:
            error, code = failure, getattr(getattr(failure, "response", None), "status_code", 500)
            if code < 500 and code not in (408, 429):
                raise OSError(f"expected the weights {entry.name} at {url}, got HTTP {code}; {byhand}.") from failure
            continue
        found = pooch.file_hash(os.fspath(part))
        if found.startswith(entry.sha256):
            return
        part.unlink()
        if not resumed:
            raise ValueError(f"{_mismatch(entry, found, url)}; the partial file is removed: {byhand}.")
        error = ValueError("a partial file that was not of the same file")
    raise ConnectionError(
        f"expected the weights {entry.name} from {url}, got {_reason(error)} in {ATTEMPTS} attempts; {byhand}."
    ) from error


def _receive(url: str, part: pathlib.Path, title: str) -> bool:
    """One request for what is missing of a partial file.

    Returns:
        Whether it was continued, not begun.

    Raises:
        requests.RequestException: no connection, or a status that is no success.
        _CutError: less came than was announced.
    """
    import requests
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing is missing, or the file is another one: the digest will tell
            return True
        response.raise_for_status()
        start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if response.status_code == 206 and start != str(have):
            part.unlink(missing_ok=True)
            raise _CutError(f"a range that starts at {shown(start)}")
        have = have if response.status_code == 206 else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        bar = tqdm(desc=title, total=total, initial=have, unit="B", unit_scale=True, leave=False, file=sys.stderr, disable=None)
        with part.open("ab" if have else "wb") as file, bar:
            for chunk in response.iter_content(2**20):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > LARGEST:
                    raise ValueError(f"expected at most {LARGEST} bytes from {url}, got more.")
    if total is not None and part.stat().st_size < total:
        raise _CutError(f"{part.stat().st_size} of {total} bytes")
    return have > 0


@contextlib.contextmanager
def _partial(folder: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """A partial file of this process's own, continued from one that was left; what is in it at a failure is left again.

    A file is taken over by renaming it, which only one process can do.
    """
    own, left = folder / f"{name}.{uuid.uuid4().hex}.part", folder / f"{name}.part"
    abandoned = [path for path in folder.glob(f"{name}.*.part") if time.time() - path.stat().st_mtime > ABANDONED]
    for candidate in (left, *abandoned):
        with contextlib.suppress(FileNotFoundError):
            os.rename(candidate, own)
            break
    try:
        yield own
    finally:
        if own.exists():
            os.replace(own, left)


@contextlib.contextmanager
def _quiet(logger: Any) -> Iterator[None]:
    """Without pooch's own lines, which for a file of a known prefix would ask to write its digest down."""
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


def _mismatch(entry: Published, found: str, where: object) -> str:
    kind = "the SHA-256" if len(entry.sha256) == 64 else "a SHA-256 that begins with"
    return f"expected the weights {entry.name} with {kind} {entry.sha256}, got {found} from {where}"


def _reason(error: BaseException | None) -> str:
    """Why a transfer failed, in a few words: what the system said, where it is at the bottom of it."""
    chain, seen = [error], set()
    while chain:
        link = chain.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        chain += [*link.args[:1], getattr(link, "reason", None), link.__cause__, link.__context__]
    return shown(error)


class _CutError(Exception):
    """A transfer that ended early."""
