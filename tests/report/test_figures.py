"""Every figure: a PNG that opens, is not blank, carries no date, and shows exactly what it was given."""

import dataclasses
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from jaxinterp import report
from jaxinterp.report._canvas import highlighted, tile_side, wrapped
from jaxinterp.report._ratios import _shares
from jaxinterp.report._style import spread

ODD = "$x_{$ <b> 狗 \\frac"


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def masks(count: int, side: int = 8) -> np.ndarray:
    result = np.zeros((count, side, side), bool)
    result[:, 2:6, 2:6] = True
    return result


def consistency(title: str = "network", bins: int = 5) -> report.Consistency:
    lc, cs1, cs2 = np.linspace(0.02, 0.3, bins), np.linspace(0.9, 0.4, bins), np.linspace(0.2, 0.7, bins)
    interval = np.stack([cs1 - 0.05, cs1 + 0.05], axis=1)
    return report.Consistency(
        title,
        lc,
        cs1,
        cs2,
        cs1_interval=interval,
        cs2_interval=interval - 0.3,
        cs1_controls={"ceiling": cs1 * 0 + 0.95},
        cs2_controls={ODD: cs2 * 0.2},
        note="k = 100",
    )


def counts(title: str = "network") -> report.CategoryCounts:
    values = np.array([0.0, 1.5, 12.0, 3.0, np.nan, 7.0])
    null = np.stack([np.full(6, 1.0), np.full(6, 2.0)], axis=1)
    nulls = {"real_null": null, "adversarial_null": null, "noise_null": null}
    return report.CategoryCounts(title, values, values[::-1], noise=values, **nulls, note=ODD)


def bars(**changes) -> list[report.NetworkBar]:
    values = np.array([3.0, 0.0, 12.0, np.nan, 1.0, 7.0])
    return [
        report.NetworkBar(name, values * i, null=values / 2, interval=(-2.0, 15.0 * i), group=group, **changes)
        for i, (name, group) in enumerate([("a network", ""), (ODD, "factor"), ("c" * 40, "factor"), ("d", ODD)])
    ]


def unit(name: str, difference: float) -> report.TracedUnit:
    return report.TracedUnit(name, difference, noise(3, 16, 16, 3), masks=masks(3))


def matrix(title: str, networks: int = 3) -> report.TransferMatrix:
    names = ("a", ODD, "network of a long name", "d", "e", "f", "g", "h", "i", "j", "k", "l")[:networks]
    relations = ("white box", "same family", *("black box",) * networks)[:networks]
    rates = noise(4, networks).astype(np.float64)
    rates[0, -1] = np.nan
    means = np.array([0.5, 0.2, np.nan, 1.0])
    return report.TransferMatrix(title, ("a", "b", ODD, "d"), names, rates, rates / 9, (relations,) * 4, means, note=ODD)


LINE = np.linspace(0, 1, 6)

EDGES = np.geomspace(1.0, 9.0, 9)
FIGURES: dict[str, Callable[[], bytes]] = {
    "contact_sheet": lambda: report.contact_sheet(noise(3, 16, 16, 3), titles=["a", ODD, "c" * 90], columns=2),
    "adversarial_sheet": lambda: report.adversarial_sheet(noise(2, 16, 16, 3), noise(2, 16, 16, 3, seed=1), titles=[ODD, "b"]),
    "unit_figure": lambda: report.unit_figure(
        noise(3, 16, 16, 3), noise(2, 16, 16, 3), real_masks=masks(3), title=ODD, adversarial_captions=["a → b", ODD]
    ),
    "detector_grid": lambda: report.detector_grid(
        [report.Detector(ODD, noise(2, 16, 16, 3), masks(2), detail="IoU .13"), report.Detector("b", noise(3, 16, 16, 3), None)]
    ),
    "consistency_curves": lambda: report.consistency_curves([consistency(), consistency(ODD), consistency()], columns=2),
    "ratio_histogram": lambda: report.ratio_histogram(
        {"a": np.append(noise(50) * 2, [np.inf, 900.0]), ODD: noise(9)}, controls={"a": noise(20)}
    ),
    "success_curve": lambda: report.success_curve(
        LINE * 8 / 255, {"a": LINE, ODD: LINE**2}, intervals={"a": np.stack([LINE * 0.9, LINE], 1)}, budget=4 / 255, title=ODD
    ),
    "bar_categories": lambda: report.bar_categories([counts(), counts(ODD)]),
    "bar_networks": lambda: report.bar_networks(bars(), subtract_null=True, band=(1, 2.5), title=ODD, note="95 %"),
    "training_curves": lambda: report.training_curves(
        {"loss": {"clean": (LINE, LINE), ODD: (LINE, LINE**2)}, "acc": {"x": (LINE, LINE)}}
    ),
    "attack_curves": lambda: report.attack_curves({"loss": noise(6, 9), ODD: np.where(noise(6, 9) > 0, noise(6, 9), np.inf)}),
    "trace_figure": lambda: report.trace_figure(
        noise(16, 16, 3), noise(16, 16, 3), [unit("unit 1\nwheel", 0.3), unit(ODD, -0.1)], [unit("unit 3", 0.0)]
    ),
    "explanation_figure": lambda: report.explanation_figure(
        noise(16, 16, 3),
        [report.ExplainingUnit(f"unit {i}", 2.0 - i, masks(1)[0], label=ODD * (i % 2)) for i in range(5)],
        title=ODD,
        logit=7.5,
        gap=0.5,
    ),
    "patching_curves": lambda: report.patching_curves(
        [1, 2, 4, 8, 16, 32], LINE, LINE / 3, top_interval=np.stack([LINE, LINE + 0.1], 1), title=ODD, sample_size=200
    ),
    "depth_responses": lambda: report.depth_responses({ODD: noise(5, 8), "b": noise(5, 8, seed=1)}, EDGES),
    "depth_curves": lambda: report.depth_curves({"error": {"a": EDGES[1:], ODD: EDGES[:-1]}}, EDGES),
    "depth_sheet": lambda: report.depth_sheet(
        noise(2, 16, 16, 3), 2 + noise(2, 16, 16), {ODD: 3 + noise(2, 16, 16)}, depths=(1.0, 9.0), titles=[ODD, "b"]
    ),
    "paired_points": lambda: report.paired_points(
        {"LC": {"a": LINE, ODD: LINE**2}, ODD: {ODD: np.where(LINE > 0.5, LINE, np.nan)}}
    ),
    "transfer_heatmap": lambda: report.transfer_heatmap([matrix("untargeted"), matrix(ODD)]),
    "roc_curve": lambda: report.roc_curve({"a": (LINE, LINE**0.5), ODD: (LINE, LINE)}, areas={"a": ".9"}, title=ODD),
}


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_every_figure_function_is_tested() -> None:
    endings = (
        "_sheet",
        "_figure",
        "_grid",
        "_curve",
        "_curves",
        "_histogram",
        "_categories",
        "_networks",
        "_heatmap",
        "_points",
        "_responses",
    )
    assert {name for name in dir(report) if name.endswith(endings) and not name.startswith("_")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure(name: str) -> None:
    import matplotlib

    settings = dict(matplotlib.rcParams)
    png = FIGURES[name]()
    assert dict(matplotlib.rcParams) == settings
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG" and image.width <= 2200 and image.height <= 2400
        assert set(image.info) == {"Description", "dpi"} and len(image.info["Description"]) > 15
        assert round(image.info["dpi"][0]) == 200
    ink = (pixels(png) != 255).any(axis=-1)
    assert ink.any(axis=0).mean() > 0.3 and ink.any(axis=1).mean() > 0.3, "mostly blank"
    assert FIGURES[name]() == png


def test_a_contact_sheet_repeats_each_pixel_exactly() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    sheet = pixels(report.contact_sheet(images, scale=4))
    assert (sheet[:12] == 255).all() and (sheet[:, -12:] == 255).all()
    sheet = sheet[12:-12, 12:-12]
    assert sheet.shape == (32, 2 * 32 + 16, 3)
    assert (sheet[:, :32] == images[0].repeat(4, 0).repeat(4, 1)).all()
    assert (sheet[:, 48:] == images[1].repeat(4, 0).repeat(4, 1)).all()
    assert (sheet[:, 32:48] == 255).all()
    assert report.contact_sheet(images / 255, scale=4) == report.contact_sheet(images, scale=4)


def test_the_perturbation_is_magnified_about_grey() -> None:
    clean = np.full((1, 8, 8, 3), 100, np.uint8)
    adversarial = clean.copy()
    adversarial[0, :4] = 103
    sheet = pixels(report.adversarial_sheet(clean, adversarial, magnify=10, scale=8))
    part = sheet[-76:-12, -76:-12]
    assert (part[:32] == 157).all() and (part[32:] == 127).all()


def test_a_mask_keeps_its_inside_and_darkens_the_rest() -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    shown = highlighted(image, mask)
    assert (shown[22:42, 22:42] == 200).all()
    assert (shown[:15] == 80).all() and (shown[50:] == 80).all()
    outline = (shown == (255, 225, 60)).all(axis=-1)
    assert outline[16, 32] and not outline[32, 32] and not outline[~mask].any()
    assert highlighted(image, None) is image
    assert (highlighted(image, np.ones((4, 4), bool)) == 200).all()


def test_small_images_are_shown_at_whole_multiples() -> None:
    assert [tile_side(side) for side in (28, 32, 64, 96, 128, 224, 299, 512)] == [252, 256, 256, 288, 256, 224, 299, 256]
    assert tile_side(64, scale=3) == 192


def test_shares_sum_to_one_and_outliers_fall_into_the_outermost_bins() -> None:
    edges = 0.05 * np.arange(16, 25)
    values = np.array([-7.0, 0.81, 0.99, 1.0, 1.01, 1.199, 50.0, 60.0])
    shares = _shares(values, edges)
    assert shares.sum() == 1.0 and shares[0] == 2 / 8 and shares[-1] == 3 / 8 and shares[4] == 2 / 8


def test_spread_keeps_order_distance_and_range() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        values = generator.uniform(0, 1, 6).tolist()
        placed = spread(values, gap=0.1, low=0.0, high=1.0)
        assert np.argsort(placed).tolist() == np.argsort(values).tolist()
        assert min(placed) >= -1e-12 and max(placed) <= 1 + 1e-12 and np.diff(sorted(placed)).min() > 0.1 - 1e-9
    assert spread([0.2, 0.9], gap=0.1, low=0.0, high=1.0) == [0.2, 0.9]


def test_long_texts_end_in_an_ellipsis_and_short_ones_are_untouched() -> None:
    assert wrapped("dog", 128) == "dog"
    lines = wrapped("a very long name of a class that no one will read to its end", 128).split("\n")
    assert len(lines) == 2 and lines[1].endswith("…")
    assert wrapped("x" * 200, 100, lines=1).endswith("…")


def test_figures_describe_themselves() -> None:
    with Image.open(io.BytesIO(FIGURES["consistency_curves"]())) as image:
        assert "network: over LC 2.0 to 30.0 (times 100) CS1 goes from 0.90 to 0.40" in str(image.info["Description"])
    with Image.open(io.BytesIO(report.roc_curve({"chance": (LINE, LINE)}))) as image:
        assert "chance: AUROC 0.500" in str(image.info["Description"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: report.contact_sheet(np.zeros((0, 8, 8, 3))), "at least one"),
        (lambda: report.contact_sheet(np.full((1, 8, 8, 3), 255.0)), "divide by 255"),
        (lambda: report.contact_sheet(np.full((1, 8, 8, 3), math.nan)), r"in \[0, 1\]"),
        (lambda: report.contact_sheet(noise(2, 8, 8, 3), titles=["one"]), "expected 2 titles"),
        (lambda: report.adversarial_sheet(noise(2, 8, 8, 3), noise(1, 8, 8, 3)), "one shape"),
        (lambda: report.unit_figure(noise(2, 8, 8, 3), noise(2, 8, 8, 3), real_masks=masks(1)), "expected 2 masks"),
        (lambda: report.detector_grid([]), "at least one"),
        (lambda: report.consistency_curves([dataclasses.replace(consistency(), cs1=LINE)]), "expected 5 bins"),
        (lambda: report.ratio_histogram({"a": np.array([np.nan])}), "finite values of 'a'"),
        (lambda: report.ratio_histogram({"a": LINE}, controls={"b": LINE}), "belongs to no panel"),
        (lambda: report.success_curve(LINE, {"a": LINE}, intervals={"b": np.zeros((6, 2))}), "belongs to no curve"),
        (lambda: report.bar_categories([dataclasses.replace(counts(), real=LINE[:3])]), "expected 6 counts"),
        (lambda: report.bar_categories([dataclasses.replace(counts(), noise=LINE[:3])]), "expected 6 counts"),
        (lambda: report.bar_networks([]), "at least one"),
        (lambda: report.bar_networks(bars(), band=(2, 1)), "expected a band"),
        (lambda: report.bar_networks(bars(), names=("a",)), "expected 1 counts"),
        (lambda: report.bar_networks([report.NetworkBar("a", LINE)], subtract_null=True), "expected a null to subtract"),
        (lambda: report.bar_networks([report.NetworkBar("a", LINE, null=LINE[:2])]), "expected a null of 6 categories"),
        (lambda: report.bar_networks([report.NetworkBar("a", LINE, interval=(1, 0))]), "swap its ends"),
        (lambda: report.training_curves({"loss": {"a": (LINE, LINE[:2])}}), "as many values as steps"),
        (lambda: report.attack_curves({"loss": np.full((2, 3), np.nan)}), "finite value in every step"),
        (lambda: report.patching_curves([1, 2, 4], LINE[:2], LINE[:2]), "for each m"),
        (lambda: report.roc_curve({"a": (LINE, LINE + 1)}), r"rates in \[0, 1\]"),
        (lambda: report.trace_figure(noise(8, 8, 3), noise(8, 8, 3), [], []), "original_units"),
    ],
)
def test_bad_input_is_one_clear_line(make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_bars_of_networks_sum_what_they_show() -> None:
    names = ("object", "part")
    one = report.NetworkBar("net", np.array([10.0, 1.0]), null=np.array([2.0, 3.0]), group="g")
    with Image.open(io.BytesIO(report.bar_networks([one], names=names))) as image:
        assert "Counts: g, net: 11 (object 10, part 1)" in image.info["Description"]
        plain = np.asarray(image.convert("RGB"))
    with Image.open(io.BytesIO(report.bar_networks([one], names=names, subtract_null=True))) as image:
        assert "Excess over the null: g, net: 6 " in image.info["Description"]
        less = np.asarray(image.convert("RGB"))
    part = (213, 94, 0)
    bars_of, key = (slice(None), slice(0, 300)), (slice(None), slice(-200, None))
    assert (plain[bars_of] == part).all(axis=-1).any() and (less[key] == part).all(axis=-1).any()
    assert not (less[bars_of] == part).all(axis=-1).any(), "below its null it adds nothing"


def test_transfer_panels_stand_beside_each_other_where_they_fit() -> None:
    heights = {}
    for networks in (3, 12):
        with Image.open(io.BytesIO(report.transfer_heatmap([matrix("one", networks), matrix("two", networks)]))) as image:
            heights[networks] = image.height
            assert "one, a: a " in image.info["Description"] and "black boxes none" in image.info["Description"]
            assert image.width <= 2200
    assert heights[12] > 1.5 * heights[3]
    with pytest.raises(ValueError, match="expected matrices of 4 sources times 3 networks"):
        dataclasses.replace(matrix("one"), black_box=np.zeros(3))
    with pytest.raises(ValueError, match="got 'grey box'"):
        dataclasses.replace(matrix("one"), relations=(("grey box",) * 3,) * 4)
    with pytest.raises(ValueError, match="panels"):
        report.transfer_heatmap([])
