"""What a study of transfer is made of: which networks are attacked together, and how."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxinterp import attacks
from jaxinterp._base import Attack, did_you_mean

UNTARGETED, TARGETED = "untargeted", "targeted"
"""The kinds of attack: success is that the label is not predicted, or that the target is."""

GIVEN, LEAST_LIKELY = "given", "least likely"
"""Where targets come from: from the images' own, or from all networks together."""

WHITE_BOX, SAME_FAMILY, BLACK_BOX = "white box", "same family", "black box"
"""What a network is to a source: attacked itself, a version of one that is attacked, or neither."""


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Adversarial images made against some members of a study, tried on all of them.

    Attributes:
        sources: name -> the members that are attacked together, to the attack a tuple of models; a single member is attacked
            as it is.
        epsilon: Linf radius in [0, 1] units. Answers are rounded to 8 bits inside this ball, whatever the attack promises.
        untargeted: the attack away from the label; None leaves it out.
        targeted: the attack towards the target; None leaves it out.
        targets: "given", those of the images, or "least likely", by the mean probability over all members.
        families: members that are versions of one network, such as compressions of it. Where one of them is attacked, none
            of the others counts as a black box.
        num_images: how many held-out images are attacked, spread evenly over them; None for all.
        batch_size: images in a batch.

    Raises:
        ValueError: no source, no attack, a member twice in a source or in two families, or a number out of range.
    """

    sources: Mapping[str, tuple[str, ...]]
    epsilon: float
    untargeted: Attack | None = None
    targeted: Attack | None = None
    targets: str = GIVEN
    families: tuple[tuple[str, ...], ...] = ()
    num_images: int | None = None
    batch_size: int = 50

    def __post_init__(self) -> None:
        attacks.linf(self.epsilon)
        if not self.sources:
            raise ValueError("expected at least one source, got none; write sources={'resnet18': ('resnet18',)}.")
        for name, members in self.sources.items():
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"expected names of sources that name files too, got {name!r}; leave out '/' and a first '.'.")
            if not members or len(set(members)) != len(members):
                raise ValueError(f"expected different members in source {name!r}, got {list(members)}; name each once.")
        if self.untargeted is None and self.targeted is None:
            raise ValueError("expected an attack, got none; write untargeted=attacks.mi_fgsm(16 / 255).")
        if self.targets not in (GIVEN, LEAST_LIKELY):
            raise ValueError(f"expected targets {GIVEN!r} or {LEAST_LIKELY!r}, got {self.targets!r}.")
        related = [name for family in self.families for name in family]
        if len(set(related)) != len(related):
            raise ValueError(f"expected every member in one family at most, got {related}; join the families that share one.")
        for name, least in (("num_images", 2), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"expected {name} of at least {least}, got {value}.")

    @property
    def attacks(self) -> dict[str, Attack]:
        """Kind -> attack, of those there are."""
        both = {UNTARGETED: self.untargeted, TARGETED: self.targeted}
        return {kind: attack for kind, attack in both.items() if attack is not None}

    def check_members(self, names: Sequence[str]) -> None:
        """Raises `ValueError` where a source or a family names no member."""
        groups = {f"source {name!r}": members for name, members in self.sources.items()}
        for place, members in (groups | {f"family {family}": family for family in self.families}).items():
            for member in members:
                if member not in names:
                    raise ValueError(
                        f"{place}: unknown member {member!r}; there are: {', '.join(names)}{did_you_mean(member, list(names))}"
                    )

    def relation(self, source: str, network: str) -> str:
        """What a network is to a source: `WHITE_BOX`, `SAME_FAMILY` or `BLACK_BOX`."""
        attacked = set(self.sources[source])
        if network in attacked:
            return WHITE_BOX
        related = {name for family in self.families if network in family for name in family}
        return SAME_FAMILY if attacked & related else BLACK_BOX
