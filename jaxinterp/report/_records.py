"""The records that a report page is made of: claims, tables, figures, sections, stages and the page."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal, get_args

Verdict = Literal["reproduced", "refuted", "under-powered", "not testable here", "pending"]
"""What the page says of a claim."""

StageState = Literal["done", "running", "to come"]
"""Where a stage of a study stands."""

Cell = str | int | float | None
"""One table cell; None prints as a dash, a float with three significant digits."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
STAGE_STATES: tuple[StageState, ...] = get_args(StageState)


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim of the paper and what this run measured of it.

    Attributes:
        statement: the claim in one sentence.
        effect: the measured effect, in `unit`; None while it is not measured.
        interval: (low, high) of the 95 % confidence interval of `effect`; None while it is not measured.
        control: what the effect is measured against, in words and figures.
        sample_size: number of images in the smaller set; None while it is not measured.
        verdict: one of "reproduced", "refuted", "under-powered", "not testable here", "pending".
        unit: printed after the effect, for example " points".
        paper: the figure or table of the paper that makes the claim.
        reason: a short remark printed under the verdict.

    Raises:
        ValueError: an unknown verdict, or an interval whose low end is above its high end.
    """

    statement: str
    effect: float | int | None
    interval: tuple[float | int, float | int] | None
    control: str
    sample_size: int | None
    verdict: str
    _: dataclasses.KW_ONLY
    unit: str = ""
    paper: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"expected a verdict among {', '.join(VERDICTS)}; got {self.verdict!r}.")
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError(f"expected an interval (low, high), got {self.interval}; swap its ends.")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        title: its heading.
        columns: column headings.
        rows: cells, one tuple a row, each as long as `columns`; the first cell of a row is its heading.
        caption: what one sees in it, and the choices it rests on.
        paper: the figure or table of the paper that it answers.
        groups: (heading, number of columns) over neighbouring columns, together all of them; empty for none.

    Raises:
        ValueError: a row longer or shorter than `columns`, or groups over another number of columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    _: dataclasses.KW_ONLY
    caption: str = ""
    paper: str = ""
    groups: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: row {number} has {len(row)} cells for {len(self.columns)} columns.")
        if self.groups and sum(span for _, span in self.groups) != len(self.columns):
            raise ValueError(f"table {self.title!r}: expected groups over {len(self.columns)} columns, got {self.groups}.")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure: the bytes of a PNG file, as the figure functions of this package return them.

    Attributes:
        name: file name without its ending: lower-case letters, digits, `_` and `-`; no two figures of a page share it.
        png: the bytes of the PNG file.
        title: its heading.
        caption: what one sees in it, and the choices it rests on.
        paper: the figure or table of the paper that it answers, for example "Answers Fig. 8 of arXiv 1708.05493".
        alt: what the picture shows, for those who cannot see it; empty takes the description stored in the PNG.

    Raises:
        ValueError: a name that is no plain file name, or bytes that are no PNG.
    """

    name: str
    png: bytes = dataclasses.field(repr=False)
    title: str
    _: dataclasses.KW_ONLY
    caption: str = ""
    paper: str = ""
    alt: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise ValueError(f"expected a figure name of lower-case letters, digits, '_' and '-'; got {self.name!r}.")
        if not self.png.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError(f"figure {self.name!r}: expected the bytes of a PNG file, got {self.png[:8]!r}.")


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading, and its line in the table of contents.
        text: plain text; a blank line begins a new paragraph.
        links: (title, address) of pages beside this one, listed under the text.
        items: tables and figures, in order.
    """

    title: str
    _: dataclasses.KW_ONLY
    text: str = ""
    links: tuple[tuple[str, str], ...] = ()
    items: tuple[Table | Figure, ...] = ()


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of the study, for the progress line.

    Attributes:
        name: what it does, in a word or two.
        state: "done", "running" or "to come".
        detail: printed after the name, for example how long it took.

    Raises:
        ValueError: an unknown state.
    """

    name: str
    state: str
    _: dataclasses.KW_ONLY
    detail: str = ""

    def __post_init__(self) -> None:
        if self.state not in STAGE_STATES:
            raise ValueError(f"expected the state of a stage among {', '.join(STAGE_STATES)}; got {self.state!r}.")


@dataclasses.dataclass(frozen=True)
class Page:
    """A report page; every part but the title may be missing, so that it can be written after each stage.

    Attributes:
        title: its heading.
        subtitle: one line under it: what was run on what.
        stages: the progress line.
        claims: the table on the first screen.
        lead: figures and tables of the first screen: one unit, then the consistency curves.
        sections: everything else, with a table of contents.
        methods: the methods paragraph, plain text.
        bibtex: the references of the methods paragraph, as BibTeX.
        provenance: name -> value: versions, device, commit, recipe, knobs, time.
        links: (title, address) of pages beside this one, for example the galleries of the units.

    Raises:
        ValueError: two different figures of one name.
    """

    title: str
    _: dataclasses.KW_ONLY
    subtitle: str = ""
    stages: tuple[Stage, ...] = ()
    claims: tuple[Claim, ...] = ()
    lead: tuple[Table | Figure, ...] = ()
    sections: tuple[Section, ...] = ()
    methods: str = ""
    bibtex: str = ""
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        seen: dict[str, Figure] = {}
        for figure in self.figures:
            if seen.setdefault(figure.name, figure).png != figure.png:
                raise ValueError(f"two different figures are named {figure.name!r}; give one of them another name.")

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure of the page, in order."""
        items = (*self.lead, *(item for section in self.sections for item in section.items))
        return tuple(item for item in items if isinstance(item, Figure))
