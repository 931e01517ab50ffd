"""The text of a response or of an answer, as the readers of answers compare it."""

import re
import unicodedata

from calib.util.thoughts import after_thoughts

_MARKUP = re.compile(
    r"\\(?:boxed|text(?:bf|it|rm)?|math(?:bf|rm)|quad|displaystyle)\b|\\[()\[\],;! ]|</?answer>|"
    r"[*_`#$\"“”{}]",
    re.IGNORECASE,
)

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
_ARTICLE = re.compile(r"\A(?:an?|the)\s+")

NEAR = 500
"""Characters before and after a letter that decide what it means: a response may have any length,
and be made of letters."""


def plain_text(text: str) -> str:
    """Remove thoughts, markup and typographic variants."""
    text = unicodedata.normalize("NFKC", after_thoughts(text) or "").replace("’", "'")
    return _MARKUP.sub("", text).strip().strip("'").strip()


def normal_answer(answer: str) -> str:
    """An answer as it is looked for in responses; empty if it has no letter or digit."""
    text = _ARTICLE.sub("", normal_text(answer)).rstrip(" .")
    return text if re.search(r"[^\W_]", text) else ""


def normal_text(text: str) -> str:
    """Lower case, without markup, invisible characters, repeated blanks and thousands' commas."""
    plain = _INVISIBLE.sub("", plain_text(text)).casefold().replace("\u2212", "-")
    lines = re.sub(r"\s*\n\s*\n\s*", ". ", plain)
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", " ".join(lines.split()))
