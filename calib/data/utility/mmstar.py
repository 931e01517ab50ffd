"""MMStar (Chen et al., arXiv 2403.20330): 1,500 questions that need their picture, with options.

Columns: index, question (which holds the options), image, answer (a letter), category (six, the
variants) and l2_category (18, the categories).
"""

import re

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import text_of
from calib.data.utility.question import UNKNOWN_ANSWER, Questions, choice, text
from calib.data.utility.source import records

COLUMNS = ("index", "question", "image", "answer", "category", "l2_category")
LETTERS = "ABCD"
_HEADING = re.compile(r"\b(?:options|choices)\s*:", re.IGNORECASE)


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions, in the order of the table."""
    questions = Questions(config, system)
    for record in records(config, COLUMNS):
        row = record.row
        asked, answer = text(row["question"]), text(row["answer"]).upper()
        options = options_in(asked)
        if answer not in options:
            questions.leave_out(UNKNOWN_ANSWER)
            continue
        questions.add(
            key=text_of(row, "index"),
            variant=text_of(row, "category"),
            category=text_of(row, "l2_category"),
            asked=asked,
            answer=answer,
            metadata=choice(options),
            picture=record.picture("image"),
        )
    return questions.benchmark()


def options_in(question: str) -> dict[str, str]:
    """The texts by letter of options written as "Options: A: one, B: two", or "(A) one (B) two".

    Where a question words them otherwise, as in a picture, the four letters have empty texts.
    """
    headings = list(_HEADING.finditer(question))
    rest = question[headings[-1].end() :] if headings else question
    marks: list[re.Match[str]] = []
    for letter in LETTERS:
        start = marks[-1].end() if marks else 0
        mark = re.compile(rf"(?:^|(?<=[\s,;]))\(?{letter}\s*[:.)]\s*").search(rest, start)
        if mark is None:
            break
        marks.append(mark)
    if len(marks) < 2:
        return dict.fromkeys(LETTERS, "")
    ends = [mark.start() for mark in marks[1:]] + [len(rest)]
    return {
        letter: rest[mark.end() : end].strip().rstrip(",;").strip()
        for letter, mark, end in zip(LETTERS, marks, ends, strict=False)
    }
