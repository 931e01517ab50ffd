"""Figures in a page: redrawn from what is known, with ids of their own."""

import pytest
from matplotlib.figure import Figure

from calib.report.figures.io import NotDrawn, svg_of
from calib.report.page import drawings
from calib.report.page.drawings import inline
from calib.util.errors import CalibError

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'  # noqa: E501


def test_ids_and_what_refers_to_them_are_prefixed():
    found = inline(
        SVG.format(
            '<defs><clipPath id="a"><path d="M 0 0"/></clipPath></defs>'
            '<g clip-path="url(#a)" style="fill: url(#a)"><use xlink:href="#a"/></g>'
        ),
        "one-",
        'A "name" <b>',
    )
    assert 'id="one-a"' in found and 'href="#one-a"' in found
    assert 'clip-path="url(#one-a)"' in found and "fill: url(#one-a)" in found
    assert found.startswith('<svg role="img" aria-label="A &quot;name&quot; &lt;b&gt;" viewBox=')


@pytest.mark.parametrize(
    "inside",
    [
        "<script>1</script>",
        "<foreignObject/>",
        '<use xlink:href="http://example.org/#a"/>',
        '<image xlink:href="data:text/html,x"/>',
        '<path onload="x()"/>',
    ],
)
def test_anything_but_drawing_is_refused(inside):
    with pytest.raises(CalibError, match="A figure"):
        inline(SVG.format(inside), "one-", "name")


def test_style_comments_and_metadata_have_no_place_in_a_page(hostile):
    found = inline(
        SVG.format("<defs><style>*{}</style></defs><metadata>x</metadata><!-- y --><g/>"), "o", "n"
    )
    assert found == '<svg role="img" aria-label="n" viewBox="0 0 9 9"><g></g></svg>'


def test_text_of_a_figure_stays_text():
    figure = Figure()
    figure.text(0.5, 0.5, "<script>x</script> & --> ]]>")
    found = inline(svg_of(figure), "one-", "name")
    assert "<script" not in found and "&lt;script&gt;x&lt;/script&gt; &amp; --&gt; ]]&gt;" in found


def test_figures_that_are_not_of_these_runs_are_left_away(monkeypatch):
    def absent(runs, columns):
        raise NotDrawn("nothing here")

    def drawn(runs, columns):
        assert (runs, columns) == (["run"], 2)
        return Figure()

    figures = {"absent": absent, "heat_map": drawn, "own_one": drawn, "trade_off": drawn}
    monkeypatch.setattr(drawings, "FIGURES", figures)
    found = drawings.drawings(["run"])
    assert [one.name for one in found] == ["trade_off", "heat_map", "own_one"]
    assert [one.title for one in found][1:] == ["Strength and layer", "Own one"]
    assert all(one.markup.count('role="img"') == 1 for one in found)
