"""The text of a response to a question, for the readers of its answer."""

import re
import unicodedata

from calib.util.thoughts import after_thoughts

_MARKUP = re.compile(
    r"\\(?:boxed|text(?:bf|it|rm)?|math(?:bf|rm)|quad|displaystyle)\b|\\[()\[\],;! ]|</?answer>|"
    r"[*_`#$\"“”{}]",
    re.IGNORECASE,
)

NEGATED = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\bexcept|\bthan|\binstead of|\bunlike)"
    r"(?:\s+(?:an?|the|is|it|be|options?|choices?|shows?|\(?[A-Z]\)?,?\s+(?:or|and|nor)))*\s*[\[(]?\Z",
    re.IGNORECASE,
)
"""Words before an answer that deny it."""
NEAR = 500
"""Characters before and after a letter that decide what it means: a response may have any length,
and be made of letters."""


def plain_text(text: str) -> str:
    """Remove thoughts, markup and typographic variants."""
    text = unicodedata.normalize("NFKC", after_thoughts(text) or "").replace("’", "'")
    return _MARKUP.sub("", text).strip().strip("'").strip()
