"""Read the answer to a question from free text, and check it.

A response may be "B", "(b)", "The answer is B because ..." or an option's own words. Rules try the
most explicit form first. A response with several answers or none is unreadable and counts as wrong;
some evaluation harnesses draw a random letter instead.
"""

import json
import re
import warnings
from collections.abc import Mapping
from itertools import islice

from calib.data.example import Example, words_of
from calib.scoring.open_answers import read_open
from calib.util.answer_text import NEAR, plain_text
from calib.util.thoughts import after_thoughts

_FINAL = re.compile(
    r"\\(?:boxed|fbox)\s*\{\s*(?:\\\w+\s*\{\s*)?[\[(]?(?P<boxed>[A-Za-z])[\])]?[.:]?\s*\}+|"
    r"<answer>\s*[\[(]?(?P<tagged>[A-Za-z])[\])]?[.:]?\s*</answer>"
)
"""A letter alone in a LaTeX box or between answer tags, which conclude a response."""
_CLAIM = re.compile(
    r"(?:\banswer(?:\s+(?:is|was|would be|should be|must be)\b\s*|\s*(?=[:=\n]))[:=]?|"
    r"^[^\w\n]*answer\b)"
    r"(?:\s+(?:option|choice)\b)?\s*",
    re.IGNORECASE | re.MULTILINE,
)
"""A conclusion such as "the answer is"; the answer follows."""
_CONCLUSION = re.compile(
    r"^[^\w\n]*(?:(?:so|thus|hence|therefore|and|the|my|final|correct|best|likely|most|closest)\b"
    r"[^\w\n]*)*(?:answer|option|choice)(?:\s+(?:is|would be|should be|must be)\b)?[^\w\n]*[:=]"
    r"[^\w(\[]*(?:(?:option|choice)\b\s*)?",
    re.IGNORECASE | re.MULTILINE,
)
"""A line such as "Answer: B" or "**Final answer:** (B)", which overrides what the response weighed
before it."""
_NO_OPTION = re.compile(
    r"\W*(?:none|no (?:option|answer|choice)|not (?:given|listed|available)|n/a|unknown|"
    r"cannot|can't|unable|\Z)",
    re.IGNORECASE,
)
"""A conclusion that no option is right, or without an answer."""
_CUE = re.compile(
    r"\b(?:options?|choice|i (?:would |will )?(?:choose|pick|select|say)|it is|it's)\s*:?\s*\Z",
    re.IGNORECASE,
)
"""Words after which a lower-case letter names an option too."""
_VERB_OR_CONJUNCTION = r"\s+(?:is|was|because|since|as|and|or)\b"
"""Words that follow an option's letter but never the article "a"."""
_LETTER = re.compile(r"[\[(](?P<inner>[A-Za-z])[\])]|(?<![\w'])(?P<bare>[A-Za-z])(?![\w'])")
_JOINED = re.compile(r"[\])]?\s*(?:,|/|&|\bor\b|\band\b)\s*[\[(]?(?P<letter>[A-Z])(?![\w'])")
_HEADING = re.compile(r"^[\[(]?([A-Z])[\]).:]", re.MULTILINE)
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\bexcept|\bthan|\binstead of|\bunlike)"
    r"(?:\s+(?:an?|the|is|it|be|options?|choices?|shows?|\(?[A-Z]\)?,?\s+(?:or|and|nor)))*\s*[\[(]?\Z",
    re.IGNORECASE,
)
"""Words before an answer that deny it."""
_REFUTED = re.compile(
    r"[\])]?(?:\s*(?:,|or|and)\s+\(?[A-Z]\)?)*\s*(?:is|was|are|would be)"
    r"(?:\s+not\b|n't\b|\s+(?:wrong|incorrect|false)\b)",
    re.IGNORECASE,
)

_YES = re.compile(r"\A[yY]\W*\Z|\b(?:yes|yeah|yep|yup)\b", re.IGNORECASE)
_NO = re.compile(r"\A[nN]\W*\Z|\A\W*no\b|\bno(?=\W*\Z|\W*\n|\s*[^\w\s])|\b(?:nope|nah)\b", re.I)
"""No as an answer: the first word, or before punctuation; not the no of "with no hat"."""
_DENIES = re.compile(r"\bno\b|\bnot\b|n't\b|\bnone\b|\bneither\b|\bnever\b", re.IGNORECASE)
_LACKS = re.compile(r"\bthere (?:is|are)(?:n't\b| no\b| not\b)", re.IGNORECASE)
_AFFIRMS = re.compile(r"\A(?:there (?:is|are)\b|(?:it|they) (?:is|are|does|do)\W*\Z)", re.I)
_UNSURE = re.compile(
    r"\b(?:cannot|can't|unable|unsure|unclear|sorry|(?:do not|don't) know|impossible|maybe|"
    r"perhaps|possibly|probably|likely|might|may)\b"
    r"|(?:\bnot|n't) (?:\w+ )?(?:sure|clear|certain|possible|able|enough)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\W*(\w+)\b(?!\s*(?:/|or\b|and\b))")
"""A word that is not part of an alternative ("yes or no")."""
_CLAUSE = re.compile(r"[,.;\n]|\b(?:and|but|while|though|although)\b", re.IGNORECASE)


def is_correct_answer(example: Example, response: str, exact: bool) -> bool:
    """Whether ``response`` gives the right answer to a question.

    If ``example.metadata`` has "kind", the answer is read by parse_answer. Otherwise the question
    is of the mini world: with ``exact`` the response must be the world's own sentence, up to case
    and white space; without, it must name the right term and no other term of its kind ("The
    object is red.", but not "red or blue").
    """
    if "kind" in example.metadata:
        return parse_answer(example, response) == example.answer
    if exact:
        return " ".join(response.split()).casefold() == (example.answer or "").casefold()
    terms = set(example.metadata.get("terms", "").split())
    return terms.intersection(words_of(after_thoughts(response) or "")) == {
        example.metadata.get("term")
    }


def parse_answer(example: Example, response: str) -> str | None:
    """Read the answer of a response: an option's letter, "yes" or "no", or the first of the known
    answers of an open question; None if unreadable.

    ``example.metadata["kind"]`` is "yes_no", "choice" with the options in
    ``example.metadata["options"]``, a JSON object from letter to text, or "open" with two JSON
    lists, the accepted answers in "answers" and wrong ones in "other_answers". Any accepted answer
    is returned as ``example.answer``.
    """
    metadata = example.metadata
    if metadata["kind"] == "yes_no":
        return read_yes_no(response)
    if metadata["kind"] == "open":
        accepted, others = (json.loads(metadata[key]) for key in ("answers", "other_answers"))
        said = read_open(response, accepted, others)
        return example.answer if said in accepted else said
    return read_choice(response, json.loads(metadata["options"]))


def parsed(example: Example, response: str) -> str | None:
    """Deprecated name of parse_answer."""
    warnings.warn("parsed is now called parse_answer", DeprecationWarning, stacklevel=2)
    return parse_answer(example, response)


def read_choice(response: str, options: Mapping[str, str]) -> str | None:
    """Read the letter of the option that a response chooses; ``options`` are texts by letter.

    In this order: a letter alone; the last line that states a conclusion ("Answer: ...", a boxed
    letter, <answer>B</answer>); the
    letter or text of a claim ("the answer is ..."); a letter at the start; a letter anywhere that
    is not a word; an option's text. The first rule with a match decides; if it matches several
    options, or the conclusion is that none is right, the answer is None.
    """
    text = plain_text("\n".join(map(_with_conclusion, response.split("\n"))))
    if alone := re.fullmatch(r"[\[(]?([A-Za-z])[\])]?[.:,']*", text):
        letter = alone[1].upper()
        return letter if letter in options else None
    conclusions = list(_CONCLUSION.finditer(text))
    if conclusions and _NO_OPTION.match(text, conclusions[-1].end()):
        return None
    for rule in (_concluded, _claimed, _opening, _named, _quoted_options):
        if letters := rule(text, options):
            return letters.pop() if len(letters) == 1 else None
    return None


def read_yes_no(response: str) -> str | None:
    """Read "yes" or "no" from a word, or from a sentence such as "There is no dog".

    None if the response gives both or neither, or is unsure.
    """
    text = plain_text(response)
    words = [_WORD.match(text, claim.end()) for claim in _CLAIM.finditer(text)]
    if claims := {_polarity(word[1]) for word in words if word} - {None}:
        return claims.pop() if len(claims) == 1 else None
    if answer := _polarity(text):
        return None if answer == "yes" and _LACKS.search(text) else answer
    if _YES.search(text) or _UNSURE.search(text):
        return None
    if _DENIES.search(_CLAUSE.split(text, maxsplit=1)[0]):
        return "no"
    return "yes" if _AFFIRMS.search(text) and not _DENIES.search(text) else None


def _with_conclusion(line: str) -> str:
    """A line whose only boxed or tagged letter, if it has one, is written as "Answer: B"."""
    finals = list(_FINAL.finditer(line))
    letters = {(final["boxed"] or final["tagged"]).upper() for final in finals}
    if len(letters) != 1:
        return line
    rest = line[: finals[0].start()], line[finals[-1].end() :]
    return f"{rest[0]}\nAnswer: {letters.pop()}\n{rest[1]}".strip()


def _concluded(text: str, options: Mapping[str, str]) -> set[str]:
    """The options of the last line that states a conclusion: its letters, or an option's text."""
    letters: set[str] = set()
    for conclusion in _CONCLUSION.finditer(text):
        letters = _following(_after(text, conclusion), options) or letters
    return letters


def _claimed(text: str, options: Mapping[str, str]) -> set[str]:
    """The options after "the answer is": a letter with those joined to it, or an option's text."""
    letters: set[str] = set()
    for claim in _CLAIM.finditer(text):
        letters |= _following(_after(text, claim), options)
    return letters


MOST_LETTERS, MOST_OPTIONS = 1_000, 100
"""Letters, and occurrences of each option's text, that are read."""


def _before(text: str, start: int) -> str:
    return text[max(0, start - NEAR) : start]


def _after(text: str, match: re.Match[str]) -> str:
    return text[match.end() : match.end() + NEAR]


def _following(rest: str, options: Mapping[str, str]) -> set[str]:
    """The options at the start of ``rest``: a letter with those joined to it, or an option's text
    in the first sentence."""
    letter = _LETTER.match(rest)
    if letter and _is_option(letter, rest, options, cued=True):
        return _with_joined(letter, rest, options)
    return _quoted_options(re.split(r"\.\s|\n", rest, maxsplit=1)[0], options)


def _opening(text: str, options: Mapping[str, str]) -> set[str]:
    """The letter at the start, the letters joined to it, and those at the start of other lines."""
    letter = _LETTER.match(text)
    if not letter:
        return set()
    name, rest = _name(letter), text[letter.end() :]
    marked = letter["inner"] or re.match(rf"[\]).:;,]|\s[-–—]|\s*\n|{_VERB_OR_CONJUNCTION}", rest)
    if name not in options or not (marked or words_of(rest) == words_of(options[name])):
        return set()
    lines = {heading[1] for heading in _HEADING.finditer(text)} & options.keys()
    return lines | _with_joined(letter, text, options)


def _named(text: str, options: Mapping[str, str]) -> set[str]:
    """All letters that are not words and that the response does not rule out."""
    letters = set()
    for letter in islice(_LETTER.finditer(text), MOST_LETTERS):
        before = _before(text, letter.start())
        ruled_out = _NEGATED.search(before) or _REFUTED.match(text, letter.end())
        if not ruled_out and _is_option(letter, text, options, bool(_CUE.search(before))):
            letters.add(_name(letter))
    return letters


def _quoted_options(text: str, options: Mapping[str, str]) -> set[str]:
    """The letters of the options whose texts the response contains without negating them."""
    text = text.casefold()
    spans: list[tuple[str, tuple[int, int]]] = []  # the first of each option
    for letter, option in options.items():
        words = re.sub(r"\A(?:an?|the)\s+", "", plain_text(option).casefold()).rstrip(" .")
        if words:
            pattern = rf"(?<![\w.\-]){re.escape(words)}(?![\w\-]|\.\d)"
            found = islice(re.finditer(pattern, text), MOST_OPTIONS)
            spans += [(letter, match.span()) for match in found]
    return {
        letter
        for letter, span in spans
        if not _NEGATED.search(_before(text, span[0]))
        # "hot dog" does not name the option "dog".
        and not any(
            outer != span and outer[0] <= span[0] and span[1] <= outer[1] for _, outer in spans
        )
    }


def _is_option(letter: re.Match[str], text: str, options: Mapping[str, str], cued: bool) -> bool:
    """Whether a letter names an option and is not an article or pronoun; lower case if ``cued``."""
    if _name(letter) not in options:
        return False
    if letter["inner"]:
        return True
    if letter["bare"].islower() and not cued:
        return False
    if letter["bare"] not in ("A", "I", "a", "i"):
        return True
    rest = _after(text, letter)
    return not re.match(r"[ \t]+\w", rest) or bool(re.match(_VERB_OR_CONJUNCTION, rest))


def _with_joined(letter: re.Match[str], text: str, options: Mapping[str, str]) -> set[str]:
    """A letter and the one joined to it ("A or B"); empty if the response rules it out."""
    if _REFUTED.match(text, letter.end()):
        return set()
    joined = _JOINED.match(text, letter.end())
    return {_name(letter)} | ({joined["letter"]} & options.keys() if joined else set())


def _name(letter: re.Match[str]) -> str:
    return (letter["inner"] or letter["bare"]).upper()


def _polarity(text: str) -> str | None:
    """Return "yes" or "no" if the text has exactly one of them as an answer, else None."""
    yes, no = bool(_YES.search(text)), bool(_NO.search(text))
    return None if yes == no else "yes" if yes else "no"
