"""Text of others is text in a page, whatever it is."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from calib.report.page.markup import LONGEST, Html, joined, link_to, tag, visible


class Read(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.values = [], "", []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.values += attributes

    def handle_data(self, data):
        self.text += data


def read(markup):
    parser = Read()
    parser.feed(markup)
    return parser


def test_children_and_attributes_are_escaped_but_for_markup(hostile):
    for text in hostile:
        found = read(tag("p", text, tag("b", text), title=text))
        assert found.tags == ["p", "b"]
        assert found.text == 2 * visible(text)
        # An attribute is never cut: it may be the outline of a figure.
        whole = text if len(text) > LONGEST else visible(text)
        assert found.values == [("title", whole)]


def test_attributes_are_written_as_html_has_them():
    assert tag("p", class_="a", aria_label="b", hidden=True, open=False, id=None) == (
        '<p class="a" aria-label="b" hidden></p>'
    )
    assert tag("meta", name_="x") == '<meta name="x">'
    assert isinstance(joined(["a", Html("<b>")]), Html)
    assert joined(["a<", Html("<b>")]) == "a&lt;<b>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a\nb\tc"),
        ("a\r\nb", "a\nb"),
        ("\x00\x1b\u202e\u2028\ud800\ufeff", r"\x00\x1b\u202e\u2028\ud800\ufeff"),
        ("می\u200cخواهم 👩\u200d🔬 é", "می\u200cخواهم 👩\u200d🔬 é"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_its_escape(text, shown):
    assert visible(text) == shown
    visible(text).encode()  # no lone surrogate is left


def test_very_long_text_says_what_was_left_out():
    shown = visible("a" * LONGEST + "b" * LONGEST)
    assert f"[… {LONGEST:,} characters left out …]" in shown
    assert shown.startswith("a" * (LONGEST // 2) + "\n")
    assert shown.endswith("\n" + "b" * (LONGEST // 2))


def test_a_link_has_no_scheme():
    assert link_to(Path("javascript:alert(1)/results.csv")) == (
        "./javascript%3Aalert%281%29/results.csv"
    )
    assert link_to(Path("../a b/\udcff.csv")) == "./../a%20b/%FF.csv"
