"""What the page shows of the standard evaluation."""

from jaxinterp import report
from jaxinterp.pipelines._results import Results
from jaxinterp.pipelines._threat import threat_in_words


def robustness_section(results: Results) -> report.Section:
    """Accuracy after each of the standard attacks, and what makes it doubtful."""
    phases, rows = results.phases("robustness"), []
    names: list[str] = []
    for phase in phases:
        for member, card in results.load(f"robustness.{phase}")[0]["cards"].items():
            names = list(card["accuracy"])
            cells = [
                f"{100 * found['estimate']:.1f} ({100 * found['low']:.0f} to {100 * found['high']:.0f})"
                for found in card["accuracy"].values()
            ]
            kept, broken = card["adversarial_images_that_survive_8_bits"]
            flags = ", ".join(name.replace("_", " ") for name, raised in card["flags"].items() if raised) or "none"
            rows.append((results.title(member, phase), *cells, f"{kept} of {broken}", flags))
    values, _ = results.load(f"robustness.{phases[0]}")
    card = next(iter(values["cards"].values()))
    if card["num_draws"]:
        trials = (
            f"APGD on the cross-entropy and on the difference of logits ratio ({card['num_steps']} steps), along means of "
            f"gradients over {card['num_draws']} draws; predictions are by the mean probability over as many."
        )
    else:
        trials = (
            f"APGD on the cross-entropy, APGD and FAB towards each of {card['attacks']['apgd-t']} classes "
            f"({card['num_steps']} steps), and Square ({card['max_queries']} queries)."
        )
    text = (
        f"Threat model: {threat_in_words(card['threat_model'])}; {values['num_images']} held-out images. Every attack gets the "
        f"images that the ones before it left: {trials}"
    )
    columns = ("network", *(name if name == "clean" else f"after {name}" for name in names), "survive 8 bits", "flags")
    caption = "Accuracy in per cent of all images, with its 95 % interval; the last accuracy is the robust one."
    table = report.Table("Standard evaluation", columns, tuple(rows), caption=caption, paper="")
    return report.Section("Robust accuracy", text=text, items=(table,))
