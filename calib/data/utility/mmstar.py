"""MMStar (Chen et al., arXiv 2403.20330): 1,500 multiple-choice questions that require the picture.

Columns: index, question (which includes the options), image, answer (a letter), category (one of
six, the variant of an example) and l2_category (one of 18, its category). Questions whose answer is
not an option are skipped; rows without question or picture are refused.
"""

import re

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import cell_prompt, cell_text
from calib.data.utility.question import UNKNOWN_ANSWER, Questions, choice_metadata
from calib.data.utility.source import read_rows

COLUMNS = ("index", "question", "image", "answer", "category", "l2_category")
LETTERS = "ABCD"
_HEADING = re.compile(r"\b(?:options|choices)\s*:", re.IGNORECASE)


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions, in table order."""
    questions = Questions(config, system)
    for source in read_rows(config, COLUMNS, questions.notes):
        row = source.row
        question, answer = cell_prompt(row, "question"), cell_prompt(row, "answer").upper()
        picture = source.picture("image")
        if not questions.is_complete(question, picture, source.where):
            continue
        options = find_options(question)
        if answer not in options:
            questions.skip(UNKNOWN_ANSWER)
            continue
        questions.add(
            key=cell_text(row, "index"),
            variant=cell_text(row, "category"),
            category=cell_text(row, "l2_category"),
            question=question,
            answer=answer,
            metadata=choice_metadata(options),
            picture=picture,
        )
    return questions.benchmark(published(config))


def published(config: PublishedUtility) -> int | None:
    """The number of questions in the split, if it is known."""
    return 1500 if config.split == "val" else None


def find_options(question: str) -> dict[str, str]:
    """Options by letter, written as "Options: A: one, B: two" or "(A) one (B) two".

    If no options are found (they may be in the picture), the four letters have empty texts.
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
