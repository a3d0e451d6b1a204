"""Tables as text: read back they are what was written."""

import csv
import io
import math
import re
from typing import Any

import pytest

from jaxinterp import metrics, report
from tests.conftest import SHARED

ODD = 'a_b & "c", 50 % {x} \\ $ # ~ ^ | * `q` <i>\nline'
FLAT = " ".join(ODD.split())


def table(**changes) -> report.Table:
    rows = ((ODD, "dog", 12, 0.1234, None), (ODD, "cat", 3, -5.0, "1 to 2"), ("other", "cat", 0, float("nan"), ""))
    fields: dict[str, Any] = {"groups": (("", 2), ("real & true", 3))}
    fields |= {"title": ODD, "columns": ("network", ODD, "n", "value", "band"), "rows": rows, "caption": ODD}
    return report.Table(**(fields | changes))


def test_csv_reads_back_with_every_digit():
    lines = list(csv.reader(io.StringIO(report.csv_table(table()), newline="")))
    assert lines[0] == ["network", ODD, "real & true: n", "real & true: value", "real & true: band"]
    assert lines[1] == [ODD, "dog", "12", "0.1234", ""]
    assert lines[2][3:] == ["-5.0", "1 to 2"]
    assert lines[3] == ["other", "cat", "0", "", ""]
    assert report.csv_table(table()).count("\r\n") == 4


def unescaped_latex(text: str) -> str:
    """What LaTeX would print; raises where it would read a command, a comment or a new cell."""
    words = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textbar": "|", "textquotedbl": '"'}
    words |= {"textless": "<", "textgreater": ">"}
    result, at = "", 0
    while at < len(text):
        command = re.match(r"\\([a-z]+)\{\}", text[at:])
        if command:
            result += words[command[1]]
            at += command.end()
        elif text[at] == "\\":
            assert text[at + 1] in "{}&%$#_", text[at:]
            result += text[at + 1]
            at += 2
        else:
            assert text[at] not in "{}&%$#_~^", text[at:]
            result += text[at]
            at += 1
    return result


def test_latex_reads_back():
    text = report.latex_table(table(), label="tab:one")
    assert r"\label{tab:one}" in text
    assert r"\begin{tabular}{llrrl}" in text
    assert r"\multicolumn{2}{c}{} & \multicolumn{3}{c}{real \& true} \\" in text
    assert r"\cmidrule(lr){3-5}" in text
    caption = re.search(r"^\\caption\{(.*)\}$", text, re.M)
    assert caption and unescaped_latex(caption[1]) == f"{FLAT}. {FLAT}"
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].replace("\\addlinespace\n", "")
    rows = [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in body.strip().splitlines()]
    assert unescaped_latex(rows[0][0]) == FLAT
    assert rows[0][1:] == ["dog", "12", "0.123", "--"]
    assert rows[1] == ["", "cat", "3", "$-$5.000", "1 to 2"], "a repeated first cell is written once"
    assert rows[2] == ["other", "cat", "0", "--", ""]
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_markdown_reads_back():
    lines = report.markdown_table(table(), decimals=1).splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:7]]
    assert cells[1] == ["---", "---", "---:", "---:", "---"]
    assert re.sub(r"\\(.)", r"\1", cells[0][1]) == FLAT
    assert cells[2][2:] == ["12", "0.1", "–"]
    assert lines[-1] == report.markdown_table(report.Table("t", ("a",), (), caption=ODD)).splitlines()[-1]
    assert "**t**\n\n| a |\n| ---: |\n" in report.markdown_table(report.Table("t", ("a",), ()))


def test_groups_span_every_column():
    with pytest.raises(ValueError, match="expected groups over 5 columns"):
        table(groups=(("real", 3),))


NULL = metrics.NullCount(9, 2.5, 1.0, 4.0)


def counts(images: str) -> report.SetCounts:
    return report.SetCounts(
        images,
        metrics.NullCount(40, 6.0, 3.0, 9.0),
        metrics.NullCount(21, 3.0, 1.0, 5.0),
        by_category={"object": NULL, "color": (1, 0.0, 0.0, 0.0)},
        by_best={"object": (7, 2.0, 1.0, 3.0)},
        unique_by_category={"object": 5, "color": 1},
        unique_by_best={"object": 4},
    )


@pytest.mark.parametrize(("rule", "cells"), [("category", (9, 2.5, "1 to 4", 6.5, 5)), ("best", (7, 2.0, "1 to 3", 5.0, 4))])
def test_dissection_table(rule, cells):
    two = report.NetworkCounts("a", 512, (counts("real"), counts("adversarial")))
    one = report.NetworkCounts("b", 64, (report.SetCounts("noise", (3, float("nan"), 0, 0), 2),))
    found = report.dissection_table([two, one], rule=rule, categories=("object", "color"), caption="All.")
    assert found.groups == (("", 2), ("real", 5), ("adversarial", 5), ("noise", 5))
    assert found.rows[0] == ("a", "object", *cells, *cells, None, None, None, None, None)
    assert found.rows[2][:7] == ("a", "any", 40, 6.0, "3 to 9", 34.0, 6 if rule == "category" else 4)
    assert found.rows[5][2:12] == (None,) * 10
    assert found.rows[5][12:] == (3, None, None, None, 2)
    short = report.dissection_table([two, one], rule=rule, categories=("object", "color"), compact=True)
    assert short.groups == (("", 2), ("real", 3), ("adversarial", 3), ("noise", 3))
    assert short.rows[0][:5] == ("a", "object", cells[0], f"{cells[1]} ({cells[2]})", cells[4])
    assert short.rows[5][5:] == (None, None, None, 3, None, 2)
    assert found.caption.startswith("All. A unit counts")
    assert report.latex_table(found).count(r"\cmidrule") == 3


def test_dissection_table_refuses():
    with pytest.raises(ValueError, match="'category' or 'best'"):
        report.dissection_table([report.NetworkCounts("a", 1, ())], rule="paper")
    with pytest.raises(ValueError, match="at least one network"):
        report.dissection_table([])
    with pytest.raises(ValueError, match="sets of different names"):
        report.dissection_table([report.NetworkCounts("a", 1, (counts("real"), counts("real")))])


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data")
@pytest.mark.parametrize(("name", "unique"), [("caffe_reference_imagenet", 61), ("ResNet-152-model_places365", 347)])
def test_published_dissections_keep_their_totals(name: str, unique: int):
    categories = ("object", "part", "scene", "material", "texture", "color")
    with (SHARED / "data" / "netdissect_published_results" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {kind: [row[f"{kind}-label"] for row in rows if float(row[f"{kind}-iou"] or 0) > 0.04] for kind in categories}
    number = sum(float(row["score"]) > 0.04 for row in rows)
    none = (math.nan, math.nan, math.nan)
    counts = report.SetCounts(
        "real",
        (number, *none),
        0,
        by_category={kind: (len(units), *none) for kind, units in found.items()},
        unique_by_category={kind: len(set(units)) for kind, units in found.items()},
    )
    table = report.dissection_table([report.NetworkCounts(name, len(rows), (counts,))], categories=categories)
    lines = list(csv.DictReader(io.StringIO(report.csv_table(table), newline="")))
    assert (lines[-1]["category"], lines[-1]["real: units"], lines[-1]["real: concepts"]) == ("any", str(number), str(unique))
    assert lines[0]["real: null"] == "" and int(lines[0]["real: units"]) == len(found["object"])
