"""Whether a question with one right answer was answered so, and which answer a response gives.

A response is free text: "B", "(b)", "The answer is B because ...", an option's own words. What it
says is read by rules, the plainest way of saying it first. Where several answers stand side by
side, or none, the response is unreadable and counts as wrong: no letter is drawn in its place, as
some harnesses do.
"""

import json
import re
import unicodedata
from collections.abc import Mapping

from calib.data.example import Example, words_of

_THOUGHTS = re.compile(r"\A.*</think(?:ing)?>|<think(?:ing)?>.*", re.DOTALL | re.IGNORECASE)
"""All up to the end of the thoughts, which the prompt may have begun; all of unfinished ones."""
_MARKUP = re.compile(r"\\(?:boxed|text|textbf|mathrm)\b|</?answer>|[*_`#$\"{}]", re.IGNORECASE)

_CLAIM = re.compile(
    r"(?:\banswer(?:\s+(?:is|was|would be|should be|must be)\b\s*|\s*(?=[:=\n]))[:=]?|^\W*answer\b)"
    r"(?:\s+(?:option|choice)\b)?\s*",
    re.IGNORECASE | re.MULTILINE,
)
"""What a response concludes with; the answer follows."""
_CUE = re.compile(
    r"\b(?:options?|choice|i (?:would |will )?(?:choose|pick|select|say)|it is|it's)\s*:?\s*\Z",
    re.IGNORECASE,
)
"""After this a small letter is an option's too."""
_GOES_ON = r"\s+(?:is|was|because|since|as|and|or)\b"
"""What follows an option's letter but no article."""
_LETTER = re.compile(r"[\[(](?P<inner>[A-Za-z])[\])]|(?<![\w'])(?P<bare>[A-Za-z])(?![\w'])")
_JOINED = re.compile(r"[\])]?\s*(?:,|/|&|\bor\b|\band\b)\s*[\[(]?(?P<letter>[A-Z])(?![\w'])")
_HEADING = re.compile(r"^[\[(]?([A-Z])[\]).:]", re.MULTILINE)
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\bexcept|\bthan|\binstead of|\bunlike)"
    r"(?:\s+(?:an?|the|is|it|be|options?|choices?|shows?|\(?[A-Z]\)?,?\s+(?:or|and|nor)))*\s*[\[(]?\Z",
    re.IGNORECASE,
)
_REFUTED = re.compile(
    r"[\])]?(?:\s*(?:,|or|and)\s+\(?[A-Z]\)?)*\s*(?:is|was|are|would be)"
    r"(?:\s+not\b|n't\b|\s+(?:wrong|incorrect|false)\b)",
    re.IGNORECASE,
)

_YES = re.compile(r"\A[yY]\W*\Z|\b(?:yes|yeah|yep|yup)\b", re.IGNORECASE)
_NO = re.compile(r"\A[nN]\W*\Z|\A\W*no\b|\bno(?=\W*\Z|\W*\n|\s*[^\w\s])|\b(?:nope|nah)\b", re.I)
"""No as an answer: the first word, or followed by a mark; in "with no hat" it is another word."""
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
"""A word that is not one of two ("yes or no")."""
_CLAUSE = re.compile(r"[,.;\n]|\b(?:and|but|while|though|although)\b", re.IGNORECASE)


def is_right(example: Example, response: str, exact: bool) -> bool:
    """Whether a question with one right answer was answered so.

    A question with facts["kind"] (see parsed) is right when the answer read from the response is
    its own. Of the mini world, ``exact`` wants the world's own sentence, up to case and white
    space; otherwise a response in a model's own words is right when it names the right term and
    no other of its kind ("The object is red." but not "red or blue").
    """
    if "kind" in example.metadata:
        return parsed(example, response) == example.answer
    if exact:
        return " ".join(response.split()).casefold() == (example.answer or "").casefold()
    terms = set(example.metadata.get("terms", "").split())
    return terms.intersection(words_of(response)) == {example.metadata.get("term")}


def parsed(example: Example, response: str) -> str | None:
    """The answer that a response gives, a letter or yes or no; None where it cannot be told.

    facts["kind"] is "yes_no", or "choice" with a JSON object from letter to text in
    facts["options"].
    """
    if example.metadata["kind"] == "yes_no":
        return read_yes_no(response)
    return read_choice(response, json.loads(example.metadata["options"]))


def read_choice(response: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that a response gives; ``options`` are texts by letter.

    A letter alone; the letter or text of a claim ("the answer is ..."); a letter that the response
    opens with; a letter that is no word anywhere; an option's text. The first of these that finds
    anything decides, and where it finds several the answer is None.
    """
    said = _plain(response)
    if alone := re.fullmatch(r"[\[(]?([A-Za-z])[\])]?[.:,']*", said):
        letter = alone[1].upper()
        return letter if letter in options else None
    for look in (_claimed, _opening, _named, _worded):
        if found := look(said, options):
            return found.pop() if len(found) == 1 else None
    return None


def read_yes_no(response: str) -> str | None:
    """Yes or no, as a response says it in a word, or in a sentence such as "There is no dog".

    None where it says both, neither, or that it cannot tell.
    """
    said = _plain(response)
    words = [_WORD.match(said, claim.end()) for claim in _CLAIM.finditer(said)]
    if claims := {_polarity(word[1]) for word in words if word} - {None}:
        return claims.pop() if len(claims) == 1 else None
    if found := _polarity(said):
        return None if found == "yes" and _LACKS.search(said) else found
    if _YES.search(said) or _UNSURE.search(said):
        return None
    if _DENIES.search(_CLAUSE.split(said, maxsplit=1)[0]):
        return "no"
    return "yes" if _AFFIRMS.search(said) and not _DENIES.search(said) else None


def _plain(text: str) -> str:
    """The text without thoughts, markup and typographic variants."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    return _MARKUP.sub("", _THOUGHTS.sub("", text)).strip().strip("'").strip()


def _claimed(said: str, options: Mapping[str, str]) -> set[str]:
    """What follows "the answer is" and the like: a letter and those joined to it, or a text."""
    found: set[str] = set()
    for claim in _CLAIM.finditer(said):
        rest = said[claim.end() :]
        letter = _LETTER.match(rest)
        if letter and _is_option(letter, rest, options, cued=True):
            found |= _with_joined(letter, rest, options)
        else:
            found |= _worded(re.split(r"\.\s|\n", rest, maxsplit=1)[0], options)
    return found


def _opening(said: str, options: Mapping[str, str]) -> set[str]:
    """The letter that a response opens with, those joined to it, and those of other lines."""
    letter = _LETTER.match(said)
    if not letter:
        return set()
    name, rest = _name(letter), said[letter.end() :]
    marked = letter["inner"] or re.match(rf"[\]).:;,]|\s[-–—]|\s*\n|{_GOES_ON}", rest)
    if name not in options or not (marked or words_of(rest) == words_of(options[name])):
        return set()
    lines = {heading[1] for heading in _HEADING.finditer(said)} & options.keys()
    return lines | _with_joined(letter, said, options)


def _named(said: str, options: Mapping[str, str]) -> set[str]:
    """The letters anywhere that are no words and that the response does not rule out."""
    found = set()
    for letter in _LETTER.finditer(said):
        before = said[: letter.start()]
        ruled_out = _NEGATED.search(before) or _REFUTED.match(said, letter.end())
        if not ruled_out and _is_option(letter, said, options, bool(_CUE.search(before))):
            found.add(_name(letter))
    return found


def _worded(said: str, options: Mapping[str, str]) -> set[str]:
    """The letters of the options whose texts stand in the response and are not negated there."""
    text = said.casefold()
    spans: list[tuple[str, tuple[int, int]]] = []
    for letter, option in options.items():
        wanted = re.sub(r"\A(?:an?|the)\s+", "", _plain(option).casefold()).rstrip(" .")
        if wanted:
            pattern = rf"(?<![\w.\-]){re.escape(wanted)}(?![\w\-]|\.\d)"
            spans += [(letter, match.span()) for match in re.finditer(pattern, text)]
    return {
        letter
        for letter, span in spans
        if not _NEGATED.search(text[: span[0]])
        # "hot dog" names no dog.
        and not any(o != span and o[0] <= span[0] and span[1] <= o[1] for _, o in spans)
    }


def _is_option(letter: re.Match[str], said: str, options: Mapping[str, str], cued: bool) -> bool:
    """Whether a letter is an option's, not an article or a pronoun. After a cue it may be small."""
    if _name(letter) not in options:
        return False
    if letter["inner"]:
        return True
    if letter["bare"].islower() and not cued:
        return False
    if letter["bare"] not in ("A", "I", "a", "i"):
        return True
    return not re.match(r"[ \t]+\w", said[letter.end() :]) or bool(
        re.match(_GOES_ON, said[letter.end() :])
    )


def _with_joined(letter: re.Match[str], said: str, options: Mapping[str, str]) -> set[str]:
    """A letter and the one beside it ("A or B"); none where it is ruled out."""
    if _REFUTED.match(said, letter.end()):
        return set()
    joined = _JOINED.match(said, letter.end())
    return {_name(letter)} | ({joined["letter"]} & options.keys() if joined else set())


def _name(letter: re.Match[str]) -> str:
    return (letter["inner"] or letter["bare"]).upper()


def _polarity(said: str) -> str | None:
    """Yes or no where the text holds one of these as an answer, but not both."""
    yes, no = bool(_YES.search(said)), bool(_NO.search(said))
    return None if yes == no else "yes" if yes else "no"
