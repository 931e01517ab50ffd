"""Styles of methods: one each, the same in every figure and in the report."""

from calib.methods import names
from calib.report.figures.method_styles import STYLES, method_style
from calib.report.page.swatch import swatch


def test_every_method_has_a_style_that_is_distinguishable_without_colour():
    assert set(names()) <= set(STYLES)
    looks = {(style.marker, style.fill) for style in STYLES.values()}
    assert len(looks) == len(STYLES)
    lines = {(style.colour, style.line) for style in STYLES.values() if style.fill != "white"}
    assert len(lines) == sum(style.fill != "white" for style in STYLES.values())


def test_a_style_does_not_depend_on_the_other_methods_of_a_figure():
    alone = method_style("steer")
    assert method_style("steer", taken=[method_style("ablate"), method_style("vti")]) == alone
    assert method_style("my_own") == method_style("my_own") != method_style("another")


def test_the_same_method_on_other_models_keeps_its_colour_and_differs_in_marker():
    taken = []
    for _ in range(20):
        taken.append(method_style("steer", taken=taken))
    assert {style.colour for style in taken} == {STYLES["steer"].colour}
    assert len({(style.marker, style.fill) for style in taken}) == 20


def test_methods_that_change_only_the_prompt_are_white():
    assert method_style("caution").fill == method_style("mine", prompt_only=True).fill == "white"


def test_swatches_have_the_colour_and_the_halves_of_the_marker():
    full, half, white = swatch("steer", False), swatch("vti", False), swatch("caution", True)
    assert full.count("<path") == white.count("<path") == 1 and half.count("<path") == 2
    assert STYLES["steer"].colour.lower() in full and "#ffffff" not in full
    assert "fill: var(--c-ffffff" in white and STYLES["vti"].colour.lower() in half
