"""A table as text: LaTeX with booktabs, Markdown, CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from jaxinterp.report._records import Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "{}&%$#_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": r"$-$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "·": r"\textperiodcentered{}",
    "–": "--",
    "…": r"\ldots{}",
}
_MARKDOWN = frozenset("\\`*_[]<>|#~")


def latex_table(table: Table, *, label: str = "", decimals: int | None = None) -> str:
    r"""The table as LaTeX with the rules of `booktabs`.

    Args:
        table: what to write; its groups become headings over their columns, and a first cell that repeats the one above
            it is left out (a thin rule marks where it changes).
        label: what `\ref` finds; empty for none.
        decimals: of floats; None takes three significant digits, alike in a column.

    Returns:
        A `table` environment, for a preamble with `\usepackage{booktabs}` and `\usepackage[T1]{fontenc}`; every character
        that LaTeX reads as a command is escaped.
    """
    numeric, rows = numeric_columns(table), formatted(table, decimals)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(f'{table.title}. {table.caption}'.strip())}}}"]
    if label:
        lines.append(rf"\label{{{label}}}")
    lines += [rf"\begin{{tabular}}{{{''.join('r' if one else 'l' for one in numeric)}}}", r"\toprule"]
    if table.groups:
        spans, rules, at = [], [], 1
        for heading, width in table.groups:
            spans.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex(heading)}}}")
            rules += [rf"\cmidrule(lr){{{at}-{at + width - 1}}}"] if heading else []
            at += width
        lines += [" & ".join(spans) + r" \\", "".join(rules)]
    lines += [" & ".join(_latex(name) for name in table.columns) + r" \\", r"\midrule"]
    blocks = len(rows) > len({row[0] for row in rows})
    for above, row in zip([None, *rows], rows, strict=False):
        repeats = blocks and above is not None and above[0] == row[0]
        if blocks and above is not None and not repeats:
            lines.append(r"\addlinespace")
        lines.append(" & ".join("" if repeats and i == 0 else _latex(cell) for i, cell in enumerate(row)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def markdown_table(table: Table, *, decimals: int | None = None) -> str:
    """The table as Markdown with bars, as GitHub reads it.

    Args:
        table: what to write; its groups are written before the names of their columns.
        decimals: of floats; None takes three significant digits, alike in a column.

    Returns:
        The title in bold, the table and its caption; characters that Markdown reads as commands are escaped.
    """
    numeric = numeric_columns(table)
    lines = [
        _row(_markdown(name) for name in headings(table)),
        _row("---:" if one else "---" for one in numeric),
        *(_row(_markdown(cell) for cell in row) for row in formatted(table, decimals)),
    ]
    caption = ["", _markdown(table.caption)] if table.caption else []
    return "\n".join([f"**{_markdown(table.title)}**", "", *lines, *caption, ""])


def csv_table(table: Table) -> str:
    """The table as CSV (RFC 4180): one line of headings, every digit, missing cells empty.

    Args:
        table: what to write; its groups are written before the names of their columns.

    Returns:
        The text, lines apart by CR LF.
    """
    return csv_text(headings(table), table.rows)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell | bool]]) -> str:
    """Headings and rows as CSV; None and NaN are empty, True and False are 1 and 0, floats have every digit."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_plain(cell) for cell in row])
    return buffer.getvalue()


def headings(table: Table) -> list[str]:
    """The names of the columns, each after the group that it stands under."""
    groups = [heading for heading, width in table.groups for _ in range(width)] or [""] * len(table.columns)
    return [f"{group}: {name}" if group else name for group, name in zip(groups, table.columns, strict=True)]


def numeric_columns(table: Table) -> list[bool]:
    """Whether every cell of a column is a number or missing."""
    return [all(isinstance(row[i], int | float | None) for row in table.rows) for i in range(len(table.columns))]


def formatted(table: Table, decimals: int | None) -> list[list[str]]:
    """The cells as one reads them: as many decimals in all rows of a column as its smallest number needs."""
    columns = range(len(table.columns))
    places = [max((decimals_of(row[i]) for row in table.rows), default=0) if decimals is None else decimals for i in columns]
    return [[cell_text(cell, count) for cell, count in zip(row, places, strict=True)] for row in table.rows]


def decimals_of(value: Cell) -> int:
    """Decimals that show three significant digits of a float, at most four."""
    if not isinstance(value, float) or not math.isfinite(value) or value == 0:
        return 0
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 4 if abs(value) < 0.1 else 3)


def cell_text(value: Cell, decimals: int) -> str:
    """A cell as one reads it; what is missing is a dash."""
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return "–"
    return (f"{value:.{decimals}f}" if isinstance(value, float) else str(value)).replace("-", "−")


def _plain(value: Cell | bool) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _markdown(text: str) -> str:
    return "".join(f"\\{character}" if character in _MARKDOWN else character for character in " ".join(text.split()))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
