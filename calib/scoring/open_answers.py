"""Read the answer to an open question: which of the known answers a response names first."""

import re
from collections.abc import Sequence

from calib.util.answer_text import NEAR, normal_answer, normal_text

_LONGEST = 5_000
"""Characters of a response that are read."""
_NO_BLANKS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Letters of scripts in which a word may stand beside others without a blank: Thai, Lao, Burmese,
Khmer, Japanese, Chinese, Korean."""
_CLAUSE_END = re.compile(
    r"[.;:!?]|\A\W*no,|,\s*(?=(?:it|this|that|there|they|he|she|i|we|you|and|so)\b)|\bbut\b"
)
_DENIES = re.compile(
    r"\b(?:not|no|cannot|never|neither|nor|without|unable|refuse|wrong|except|unlike|instead of)\b"
    r"|n't\b"
)
"""Words of a clause that say an answer in it is not the case, or that the model does not tell."""
_ALTERNATIVE = re.compile(
    r"\s*,?\s*(?:/|\bor\b)\s*(?:(?:maybe|possibly|perhaps)\s+)?(?:an?\s+|the\s+)?"
)


def read_open(response: str, accepted: Sequence[str], others: Sequence[str] = ()) -> str | None:
    """The first of the ``accepted`` and ``others`` that a response names without denying it.

    None if there is none, or if an accepted and another one are named as alternatives ("a cat or a
    dog"). Letter case, markup, a leading article and the ending -s or -es of longer words do not
    matter. Words that belong to a longer answer are not an answer of their own: "a hot dog" is not
    a dog. A clause that denies or declines names nothing, nor does a question; both are recognised
    in English. OCRBench (arXiv 2305.07895) counts a response as right if it contains the answer
    anywhere.
    """
    named = {normal_answer(answer): answer for answer in (*reversed(others), *reversed(accepted))}
    known = sorted(filter(None, named), key=len, reverse=True)
    if not known:
        return None
    text = normal_text(response[: 4 * _LONGEST])[:_LONGEST]
    pattern = re.compile("|".join(_whole(answer) for answer in known))
    for match in pattern.finditer(text):
        before = text[max(0, match.start() - NEAR) : match.start()]
        if _DENIES.search(_CLAUSE_END.split(before)[-1]) or text[match.end() :].startswith("?"):
            continue
        said = named[_stated(match, known)]
        joined = _ALTERNATIVE.match(text, match.end())
        other = pattern.match(text, joined.end()) if joined else None
        if other and (named[_stated(other, known)] in accepted) != (said in accepted):
            return None
        return said
    return None


def _whole(answer: str) -> str:
    """A pattern of an answer between the boundaries of words or numbers, with a plural's ending."""
    before = (
        "" if re.match(f"[{_NO_BLANKS}]", answer) else r"(?<![\w.\-\u2013])(?<!\w')(?<!\d[,:/])"
    )
    after = "" if re.search(rf"[{_NO_BLANKS}]\Z", answer) else r"(?![\w\-]|[.,:/^]\d)"
    plural = "(?:e?s)?" if re.search(r"[^\W\d_]{3}\Z", answer) and after else ""
    return f"{before}{re.escape(answer)}{plural}{after}"


def _stated(match: re.Match[str], known: Sequence[str]) -> str:
    """The answer of a match: the longest that it begins with."""
    return next(answer for answer in known if match.group().startswith(answer))
