"""The rule from effect to verdict, the records, the references."""

import math

import numpy as np
import pytest

from jaxinterp import report

PNG = report.contact_sheet(np.zeros((1, 4, 4, 3)), scale=1)


@pytest.mark.parametrize(
    ("effect", "interval", "sign", "size", "expected"),
    [
        (0.3, (0.1, 0.5), 1, 100, "reproduced"),
        (-0.3, (-0.5, -0.1), -1, 100, "reproduced"),
        (0.3, (0.1, 0.5), -1, 100, "refuted"),
        (-0.3, (-0.5, -0.1), 1, 100, "refuted"),
        (0.3, (0.1, 0.5), 1, 99, "under-powered"),
        (0.3, (-0.1, 0.7), 1, 5000, "under-powered"),
        (0.3, (0.0, 0.7), 1, 5000, "under-powered"),
        (0.0, (0.0, 0.0), -1, 5000, "under-powered"),
        (math.nan, (0.1, 0.5), 1, 100, "not testable here"),
        (0.3, (0.1, math.inf), 1, 100, "not testable here"),
        (0.3, (0.1, 0.5), 1, 0, "not testable here"),
    ],
)
def test_verdict(effect: float, interval: tuple[float, float], sign: int, size: int, expected: str) -> None:
    assert report.verdict(effect, interval, expected_sign=sign, sample_size=size) == expected


def test_verdict_is_under_powered_when_the_caller_says_so() -> None:
    assert report.verdict(0.3, (0.1, 0.5), expected_sign=1, sample_size=500, under_powered=True) == "under-powered"


def test_verdict_mirrors_with_the_sign_of_effect_and_expectation() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        low, high = (float(value) for value in np.sort(generator.normal(size=2)))
        size = int(generator.integers(50, 200))
        one = report.verdict((low + high) / 2, (low, high), expected_sign=1, sample_size=size)
        other = report.verdict(-(low + high) / 2, (-high, -low), expected_sign=-1, sample_size=size)
        assert one == other


def test_verdict_refuses_a_swapped_interval_and_an_unknown_sign() -> None:
    with pytest.raises(ValueError, match="swap its ends"):
        report.verdict(0.3, (0.5, 0.1), expected_sign=1, sample_size=100)
    with pytest.raises(ValueError, match="1 or -1"):
        report.verdict(0.3, (0.1, 0.5), expected_sign=0, sample_size=100)


def test_records_refuse_what_a_page_cannot_show() -> None:
    with pytest.raises(ValueError, match="a verdict among"):
        report.Claim("c", 0.1, (0.0, 0.2), "none", 5, "true")
    with pytest.raises(ValueError, match="swap its ends"):
        report.Claim("c", 0.1, (0.2, 0.0), "none", 5, "refuted")
    with pytest.raises(ValueError, match="row 1 has 1 cells for 2 columns"):
        report.Table("t", ("a", "b"), ((1, 2), (3,)))
    with pytest.raises(ValueError, match="figure name"):
        report.Figure("../up", PNG, "t")
    with pytest.raises(ValueError, match="bytes of a PNG"):
        report.Figure("f", b"GIF89a", "t")
    with pytest.raises(ValueError, match="state of a stage"):
        report.Stage("attack", "finished")


def test_two_different_figures_cannot_share_a_name() -> None:
    other = report.contact_sheet(np.ones((1, 4, 4, 3)), scale=1)
    with pytest.raises(ValueError, match="two different figures are named 'f'"):
        report.Page("p", lead=(report.Figure("f", PNG, "a"), report.Figure("f", other, "b")))
    page = report.Page(
        "p", lead=(report.Figure("f", PNG, "a"),), sections=(report.Section("s", items=(report.Figure("f", PNG, "b"),)),)
    )
    assert len(page.figures) == 2


def test_bibliography_is_sorted_and_each_entry_balances_its_braces() -> None:
    text = report.bibliography(["zhou2015", "bau2017", "bau2017"])
    assert [line for line in text.splitlines() if line.startswith("@")] == [
        "@inproceedings{bau2017,",
        "@inproceedings{zhou2015,",
    ]
    keys = ("dong2017", "dong2022", "bau2017", "goodfellow2015", "madry2018", "kingma2015", "miller1995", "zhou2015")
    for key in (*keys, "benjamini1995"):
        entry = report.bibliography([key])
        assert entry.count("{") == entry.count("}") and key[-4:] in entry and "http" not in entry
    with pytest.raises(ValueError, match="unknown reference 'bau2018'"):
        report.bibliography(["bau2018"])


def test_the_methods_paragraph_cites_only_what_was_used() -> None:
    common = {
        "num_images": 1200,
        "num_targets": 10,
        "num_steps": 20,
        "step_size": 5 / 255,
        "distance_weight": 1e5,
        "top_k": 100,
    }
    plain = report.methods_paragraph(["ResNet-18"], "the concept world", **common)
    unlabelled = report.methods_paragraph(["ResNet-18"], "photographs", **common, dissected=False)
    assert "[bau2017]" in plain and not {"bau2017", "benjamini1995"} & set(report.citations(unlabelled))
    assert "  " not in unlabelled and ". LC and" in unlabelled
    trained = report.methods_paragraph(["A", "B", "C"], "the concept world", **common, epsilon=8 / 255, feature_weight=1.0)
    assert "12,000 adversarial images" in plain and "20 steps of 5/255" in plain and "sigma = 2" in plain
    assert "A, B and C" in trained and "epsilon = 8/255" in trained and "mean over the networks" not in plain
    assert set(report.citations(trained)) - set(report.citations(plain)) == {"goodfellow2015", "madry2018"}
    assert report.bibliography(report.citations(trained)).count("\n@") == len(report.citations(trained)) - 1
    with pytest.raises(ValueError, match="both of epsilon and feature_weight"):
        report.methods_paragraph(["A"], "images", **common, epsilon=8 / 255)


def test_the_paragraph_of_a_dissection_cites_formulas_where_there_are_some() -> None:
    plain = report.dissection_paragraph(["A"], "images")
    further = report.dissection_paragraph(["A"], "images", num_formula_draws=20)
    assert "20 permutations" in further and "  " not in further
    assert set(report.citations(further)) - set(report.citations(plain)) == {"mu2020"}
    assert "arXiv:2006.14032" in report.bibliography(["mu2020"])


def test_paragraphs_of_gates_and_of_depth_cite_what_they_rest_on() -> None:
    gates = report.gates_paragraph(num_images=1000, num_steps=60, regulariser_weight=1e-3, density=0.2)
    assert "1,000 held-out images" in gates and "60 steps" in gates and "exceeds 0.2 of its size" in gates
    depth = report.depth_paragraph(num_bins=64, nearest=0.75, farthest=10.0)
    assert "64 bins" in depth and "from 0.75 to 10 m" in depth
    assert report.citations(gates + depth) == ("liang2020", "you2021", "eigen2014")
    assert "arXiv:2108.05312" in report.bibliography(report.citations(depth))
