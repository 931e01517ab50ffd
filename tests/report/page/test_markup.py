"""Untrusted text is escaped in the page, and invisible characters are shown."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from calib.report.page.markup import MAX_TEXT, joined, link_to, tag, visible


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.values = [], "", []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.values += attributes

    def handle_data(self, data):
        self.text += data


def read(markup):
    parser = Reader()
    parser.feed(markup)
    return parser


def test_children_and_attributes_are_escaped_except_markup(hostile):
    for text in hostile:
        parsed = read(tag("p", text, tag("b", text), title=text))
        assert parsed.tags == ["p", "b"]
        assert parsed.text == 2 * visible(text)
        # Attributes are never shortened: they may be the outline of a figure.
        whole = text if len(text) > MAX_TEXT else visible(text)
        assert parsed.values == [("title", whole)]


def test_attributes_are_written_as_in_html():
    assert tag("p", class_="a", aria_label="b", hidden=True, open=False, id=None) == (
        '<p class="a" aria-label="b" hidden></p>'
    )
    assert tag("meta", name_="x") == '<meta name="x">'
    assert isinstance(joined(["a", Markup("<b>")]), Markup)
    assert joined(["a<", Markup("<b>")]) == "a&lt;<b>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a\nb\tc"),
        ("a\r\nb", "a\nb"),
        ("\x00\x1b\u202e\u2028\ud800\ufeff", r"\x00\x1b\u202e\u2028\ud800\ufeff"),
        ("می\u200cخواهم 👩\u200d🔬 é", "می\u200cخواهم 👩\u200d🔬 é"),
    ],
)
def test_invisible_characters_are_shown_as_escapes(text, shown):
    assert visible(text) == shown
    visible(text).encode()  # no lone surrogate is left


def test_long_text_is_shortened_with_a_count():
    shown = visible("a" * MAX_TEXT + "b" * MAX_TEXT)
    assert f"{MAX_TEXT:,} characters" in shown
    assert shown.startswith("a" * (MAX_TEXT // 2) + "\n")
    assert shown.endswith("\n" + "b" * (MAX_TEXT // 2))


def test_link_has_no_scheme():
    assert link_to(Path("javascript:alert(1)/results.csv")) == (
        "./javascript%3Aalert%281%29/results.csv"
    )
    assert link_to(Path("../a b/\udcff.csv")) == "./../a%20b/%FF.csv"
