"""Read the answer to an open question: which of the known answers a response names first."""

import re
from collections.abc import Sequence

from calib.scoring.answer_text import NEAR, plain_text

_LONGEST = 5_000
"""Characters of a response that are read."""
_NO_BLANKS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
"""Letters of scripts without blanks between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_ALTERNATIVE = re.compile(r"\s*,?\s*(?:/|\bor\b)\s*(?:an?\s+|the\s+)?", re.IGNORECASE)
_CLAUSE_END = re.compile(
    r"[.;:!?\n]|\A\W*no,|,\s*(?=(?:it|this|that|there|they|he|she|i|we|you|and|so)\b)|\bbut\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:not|no|cannot|never|neither|nor|without|unable|except|unlike|instead of)\b|n't\b",
    re.IGNORECASE,
)
"""Words of a clause that say an answer in it is not the case, or that the model does not tell."""
_ARTICLE = re.compile(r"\A(?:an?|the)\s+")


def read_open(response: str, answers: Sequence[str]) -> str | None:
    """The first of ``answers`` that a response names without denying it; None if there is none, or
    if it names another one as an alternative ("a cat or a dog").

    Letter case, markup, a leading article and the ending of a plural do not matter. Words that
    belong to a longer answer are not an answer of their own: "a hot dog" is not a dog. OCRBench
    (arXiv 2305.07895) counts a response as right if it contains the answer anywhere.
    """
    named = {_normal(answer): answer for answer in reversed(answers)}
    known = sorted(filter(None, named), key=len, reverse=True)
    if not known:
        return None
    text = plain_text(response).casefold()[:_LONGEST]
    pattern = re.compile("|".join(_whole(answer) for answer in known))
    for match in pattern.finditer(text):
        before = text[max(0, match.start() - NEAR) : match.start()]
        if _DENIES.search(_CLAUSE_END.split(before)[-1]):
            continue
        joined = _ALTERNATIVE.match(text, match.end())
        other = pattern.match(text, joined.end()) if joined else None
        if other and _stated(other, known) != _stated(match, known):
            return None
        return named[_stated(match, known)]
    return None


def _normal(answer: str) -> str:
    return _ARTICLE.sub("", plain_text(answer).casefold()).rstrip(" .")


def _whole(answer: str) -> str:
    """A pattern of an answer between the boundaries of words or numbers, with a plural's ending."""
    before = "" if re.match(f"[{_NO_BLANKS}]", answer) else r"(?<![\w.\-])"
    after = "" if re.search(rf"[{_NO_BLANKS}]\Z", answer) else r"(?![\w\-]|\.\d)"
    plural = "(?:e?s)?" if re.search(r"[^\W\d_]\Z", answer) and after else ""
    return f"{before}{re.escape(answer)}{plural}{after}"


def _stated(match: re.Match[str], known: Sequence[str]) -> str:
    """The answer of a match: the longest that it begins with."""
    return next(answer for answer in known if match.group().startswith(answer))
