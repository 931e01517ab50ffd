"""A rule for well-formed English: whole sentences of known words, without repetition."""

import functools
import re

from experiments.smolvlm_emoji.drawings import KINDS
from experiments.smolvlm_emoji.things import COMMON

MOST_REPEATS = 2
"""Times that three words in a row may occur in a response."""
VOWELS = re.compile(r"[aeiouy]")
LONGEST_CLUSTER = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")
SENTENCE = re.compile(r"""["'(]?[A-Z][^.!?]*[.!?]["')]?""")


def is_well_formed(response: str) -> bool:
    """Whether a response is made of whole sentences, of words that can be English, and does not
    repeat itself.

    A word can be English if it has a vowel and no five consonants in a row; letters with accents
    are allowed. This finds broken text, not wrong grammar: read a sample as well.
    """
    text = response.strip()
    if not text or "\ufffd" in text or not text[0].isupper() and text[0] not in "\"'(":
        return False
    if not re.search(r"""[.!?]["')]?$""", text) or not SENTENCE.match(text):
        return False
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())
    if len(words) < 2 or not all(map(_can_be_english, words)):
        return False
    triples = list(zip(words, words[1:], words[2:], strict=False))
    doubled = any(a == b == c for a, b, c in triples)
    return not doubled and max(map(triples.count, triples), default=0) <= MOST_REPEATS


@functools.cache
def _can_be_english(word: str) -> bool:
    if word in _known() or word.removesuffix("'s") in _known():
        return True
    parts = re.split(r"['’-]", word)
    return all(
        len(part) <= 2 or (VOWELS.search(part) and not LONGEST_CLUSTER.search(part))
        for part in parts
    )


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(word for name in (*COMMON, *KINDS.values()) for word in name.split())
