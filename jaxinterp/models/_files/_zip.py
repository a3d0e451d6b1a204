"""A zip whose table of members is sound: each once, none over another, none longer than the file allows."""

import io
import zipfile

from jaxinterp.models._files._entries import Unusable, shown

MOST_MEMBERS = 100_000
_AGAIN = "download or save it again"


def sound_zip(file: io.BufferedReader, size: int) -> zipfile.ZipFile:
    """The archive in a file of `size` bytes.

    Raises:
        Unusable: a file that is cut, or whose table of members is broken.
    """
    file.seek(0)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, NotImplementedError) as error:
        raise Unusable(f"a zip that is cut or broken: {shown(error)}", _AGAIN) from error
    members = archive.infolist()
    if not 0 < len(members) <= MOST_MEMBERS:
        raise Unusable(f"a zip of {len(members)} members", _AGAIN)
    names: set[str] = set()
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.filename in names:
            raise Unusable(f"a zip that has the member {shown(member.filename)!r} twice", _AGAIN)
        names.add(member.filename)
        if member.flag_bits & 1:
            raise Unusable(f"a zip whose member {shown(member.filename)!r} is encrypted", "unpack it first")
        if member.header_offset < end:
            raise Unusable(f"a zip whose member {shown(member.filename)!r} lies over another", _AGAIN)
        end = member.header_offset + 30 + len(member.orig_filename) + member.compress_size
        if end > size:
            raise Unusable(f"a zip whose member {shown(member.filename)!r} is cut", _AGAIN)
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise Unusable(f"a zip whose member {shown(member.filename)!r} has two sizes", _AGAIN)
    return archive
