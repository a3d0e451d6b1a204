"""Templates, paragraphs, and files that exist whole or not at all."""

import contextlib
import importlib.resources
import os
import pathlib
import re
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def template_of(name: str) -> "Template":
    """A template of this package; it escapes every text, and includes other files of the package by name."""
    import jinja2

    folder = importlib.resources.files("jaxinterp.report")
    return jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(lambda file: folder.joinpath(file).read_text("utf-8")),
    ).get_template(name)


def paragraphs(text: str) -> list[str]:
    """Plain text cut at blank lines."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def replace_file(path: pathlib.Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it; a file that holds the same already is left alone."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
