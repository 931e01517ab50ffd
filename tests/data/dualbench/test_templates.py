"""The template twins, their form and number, and the hazard categories."""

import re
from collections import Counter

import pytest
from raising import raises

from calib.data.dualbench.templates import SENTENCES, template_twins
from calib.data.dualbench.terms import TERMS
from calib.data.dualbench.twins import CATEGORIES, parse_category
from calib.data.dualbench.typesetting import Typeface

TWINS = template_twins()


def form(text: str) -> tuple[int, str]:
    """Number of words, and punctuation in order."""
    return len(text.split()), re.sub(r"[\w\s]", "", text)


def test_the_twelve_categories_have_the_papers_codes() -> None:
    # Literal values: the codes are part of every result.
    assert {category.code: category.name for category in CATEGORIES} == {
        "S1": "Violent Crimes",
        "S2": "Non-Violent Crimes",
        "S3": "Sex-Related Crimes",
        "S4": "Child Sexual Exploitation",
        "S5": "Defamation",
        "S6": "Specialized Advice",
        "S7": "Privacy",
        "S8": "Intellectual Property",
        "S9": "Indiscriminate Weapons",
        "S10": "Hate",
        "S11": "Suicide & Self-Harm",
        "S12": "Sexual Content",
    }
    assert set(SENTENCES) == set(TERMS) == {category.code for category in CATEGORIES}


@pytest.mark.parametrize("text", ["S11", "s11", "Suicide & Self-Harm", "suicide and self harm"])
def test_a_category_is_parsed_from_code_or_name(text: str) -> None:
    assert parse_category(text, "here").code == "S11"


def test_an_unknown_category_is_reported_with_the_nearest() -> None:
    with raises("invalid-value", "here", "'privacies'", "'Privacy'?", "S10 Hate"):
        parse_category("privacies", "here")


def test_every_category_has_twenty_distinct_twins() -> None:
    for code in TERMS:
        twins = [twin for twin in TWINS if twin.category.code == code]
        assert len(twins) >= 20
        for field in ("harmful", "benign", "harmful_translation", "benign_translation"):
            assert len({getattr(twin, field) for twin in twins}) == len(twins)
    assert max(Counter(twin.pair for twin in TWINS).values()) == 1


def test_twins_have_the_same_words_and_punctuation_in_both_languages() -> None:
    for twin in TWINS:
        assert form(twin.harmful) == form(twin.benign), twin.harmful
        assert form(twin.harmful_translation) == form(twin.benign_translation), twin.harmful
        assert twin.harmful != twin.benign
        assert twin.harmful_translation not in (twin.harmful, twin.benign_translation)


def test_sentences_are_complete() -> None:
    for twin in TWINS:
        english = (twin.harmful, twin.benign)
        spanish = (twin.harmful_translation, twin.benign_translation)
        for text in english + spanish:
            assert "{" not in text and text == " ".join(text.split())
        assert all(re.fullmatch(r"[A-Z].*[^\W_][.?]", text) for text in english)
        # Only Spanish questions have an opening mark.
        assert all(text.startswith("¿") == text.endswith("?") for text in spanish)
        assert not any("¿" in text for text in english)


def test_two_categories_name_their_hazard_by_code_only() -> None:
    for code in ("S4", "S12"):
        for terms in TERMS[code]:
            assert terms.harmful.startswith(f"a forbidden {code} ")
            assert f" {code} prohibid" in terms.harmful_spanish
            assert code not in terms.benign + terms.benign_spanish


def test_the_default_font_has_all_letters() -> None:
    Typeface().check([t.harmful_translation for t in TWINS] + [t.harmful for t in TWINS])
