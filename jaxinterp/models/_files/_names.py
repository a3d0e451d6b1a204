"""The names of a state dict as the network has them: without the prefixes of wrappers, without old spellings."""

import re
from collections.abc import Iterable

from jaxinterp.models._files._entries import Unusable, shown

PREFIXES = ("module.", "model.", "_orig_mod.")
"""What DataParallel, Lightning and torch.compile put before every name."""

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


def canonical(names: Iterable[str]) -> dict[str, str]:
    """The name of every weight in the network -> its name in the file.

    A prefix goes only where every name has it, and again as long as that is so. torchvision's DenseNet files say
    `norm.1` and `conv.1` for `norm1` and `conv1`.

    Raises:
        Unusable: two names of the file that mean the same weight.
    """
    own = {name: name for name in names}
    while own and (prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in own)), None)):
        own = {name.removeprefix(prefix): kept for name, kept in own.items()}
    found: dict[str, str] = {}
    for name, kept in own.items():
        renamed = _OLD_DENSENET.sub(r"\1\2.", name)
        if renamed in found:
            raise Unusable(
                f"a file with two weights for {shown(renamed)!r}, {shown(found[renamed])!r} and {shown(kept)!r}",
                "save the one that you mean alone",
            )
        found[renamed] = kept
    for prefix in PREFIXES:
        twin = next((name for name in found if f"{prefix}{name}" in found), None)
        if twin is not None:
            other = found[f"{prefix}{twin}"]
            raise Unusable(
                f"a file with two weights for {shown(twin)!r}, {shown(found[twin])!r} and {shown(other)!r}",
                "save the one that you mean alone",
            )
    return found
