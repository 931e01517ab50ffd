"""Figures of the page: rebuilt from allowed elements, with their own ids."""

import re
from importlib import resources
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from raising import raises

from calib.report.figures.io import NotDrawn, svg_of
from calib.report.page import drawings
from calib.report.page.colours import DARK, follow_mode
from calib.report.page.drawings import inline
from calib.report.verdict import RATES

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'  # noqa: E501


def test_ids_and_references_are_prefixed():
    svg = inline(
        SVG.format(
            '<defs><clipPath id="a"><path d="M 0 0"/></clipPath></defs>'
            '<g clip-path="url(#a)" style="fill: url(#a)"><use xlink:href="#a"/></g>'
        ),
        "one-",
        'A "name" <b>',
    )
    assert 'id="one-a"' in svg and 'href="#one-a"' in svg
    assert 'clip-path="url(#one-a)"' in svg and "fill: url(#one-a)" in svg
    assert ElementTree.fromstring(svg).get("aria-label") == 'A "name" <b>'


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("<script>1</script>", "<script>"),
        ("<foreignObject/>", "<foreignObject>"),
        ('<use xlink:href="http://example.org/#a"/>', "http://example.org/#a"),
        ('<image xlink:href="data:text/html,x"/>', "data:text/html,x"),
        ('<path onload="x()"/>', "onload"),
    ],
)
def test_elements_and_addresses_that_a_drawing_does_not_need_are_errors(content, value):
    with raises("unsupported", value):
        inline(SVG.format(content), "one-", "name")


def test_style_comments_and_metadata_are_left_out(hostile):
    svg = inline(
        SVG.format("<defs><style>*{}</style></defs><metadata>x</metadata><!-- y --><g/>"), "o", "n"
    )
    assert svg == '<svg role="img" aria-label="n" viewBox="0 0 9 9"><g></g></svg>'


def test_text_of_a_figure_is_escaped():
    figure = Figure()
    figure.text(0.5, 0.5, "<script>x</script> & --> ]]>")
    svg = inline(svg_of(figure), "one-", "name")
    assert "<script" not in svg and "&lt;script&gt;x&lt;/script&gt; &amp; --&gt; ]]&gt;" in svg


def test_crossing_curves_are_explained_only_where_both_are_drawn(monkeypatch):
    def figure(strengths, line="-"):
        def draw(runs, columns):
            axes = (drawn := Figure()).subplots()
            for rate in ("SRA_u", "SRA_s"):
                axes.plot(strengths, strengths, linestyle=line, label=f"{rate}: {RATES[rate]}")
            return drawn

        return draw

    for given, explained in ((([0, 1, 2],), True), (([1],), False), (([0, 1], ""), False)):
        monkeypatch.setattr(drawings, "FIGURES", {"trade_off": figure(*given)})
        (drawing,) = drawings.drawings([])
        assert (drawings.CROSSING in drawing.markup) == explained


def test_figures_without_results_are_left_out(monkeypatch, run):
    def absent(runs, columns):
        raise NotDrawn("missing-value", "nothing here")

    def drawn(runs, columns):
        assert (runs, columns) == ([run], 2)
        return Figure()

    figures = {"absent": absent, "heat_map": drawn, "own_one": drawn, "trade_off": drawn}
    monkeypatch.setattr(drawings, "FIGURES", figures)
    result = drawings.drawings([run])
    assert [drawing.name for drawing in result] == ["trade_off", "heat_map", "own_one"]
    assert [drawing.title for drawing in result][1:] == [
        drawings.CAPTIONS["heat_map"][0],
        "Own one",
    ]
    assert all(drawing.markup.count('role="img"') == 1 for drawing in result)


def test_captions_do_not_promise_utility_that_was_not_measured(monkeypatch, run):
    monkeypatch.setattr(drawings, "FIGURES", {"trade_off": lambda runs, columns: Figure()})
    bare = run.replace(results=[r for r in run.results if r.dataset != "utility"])
    titles = [drawings.drawings(runs)[0].title for runs in ([run], [bare], [run, bare])]
    without = drawings.WITHOUT_UTILITY["trade_off"][0]
    assert titles == [drawings.CAPTIONS["trade_off"][0], without, without]


def test_colours_of_figures_follow_the_mode_of_the_page():
    figure = Figure()
    figure.subplots().plot([0, 1], color="#0072b2")
    svg = inline(svg_of(figure), "one-", "name")
    used = set(re.findall(r"var\(--c-(\w+), #(\w+)\)", svg))
    assert ("0072b2", "0072b2") in used and ("ffffff", "ffffff") in used
    style = (resources.files("calib.report.page") / "report.css").read_text(encoding="utf-8")
    assert all(f"--c-{colour[1:]}: #" in style for colour in DARK)
    assert follow_mode("fill: #010101; stroke: #000000") == (
        "fill: #010101; stroke: var(--c-000000, #000000)"
    )
