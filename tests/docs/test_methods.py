"""docs/methods.md agrees with the methods' docstrings and configurations, and is complete."""

import pytest
from methods_page import PAGE, PARAGRAPHS, docstring, page, paragraphs, summary

from calib import methods


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "docs/methods.md is out of date. Run: python tests/support/methods_page.py"
    )


def test_every_method_has_all_paragraphs():
    missing = [
        f"{name}: {key}" for name in methods.names() for key in PARAGRAPHS
        if not paragraphs(docstring(name)).get(key)
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("name", methods.names())
def test_the_page_says_whether_a_method_is_supervised(name):
    supervised = paragraphs(docstring(name))["Supervised"]
    assert supervised.lower().startswith(("yes", "no")), supervised


def test_a_paragraph_ends_at_an_empty_line_or_at_the_next_one():
    text = "Add a vector.\n\nAuthors: at\n  all tokens.\nHere: at one\ntoken.\n\nStrength: 1."
    assert paragraphs(text) == {"Authors": "at all tokens.", "Here": "at one token."}


def test_a_summary_is_the_first_sentence_without_its_source():
    text = "Add a vector\n(CAA, arXiv 2312.06681). Then respond.\n\nHere: no."
    assert summary(text) == ("Add a vector.", "CAA, arXiv 2312.06681")
    assert summary("Reminder (Xie et al. 2023, Nature). It helps.")[1] == "Xie et al. 2023, Nature"
    assert summary("Two steps (one, then two).") == ("Two steps (one, then two).", "")
