"""MMMU (Yue et al., arXiv 2311.16502): college exam questions of 30 subjects, with options.

The validation split has 900 questions. Columns: id (validation_Accounting_1), question, options (a
list written as text), answer (a letter), question_type, and image_1 to image_7, which question and
options name as <image 1>. calib asks about one picture at a time: open questions and those with
several pictures are left out, with their number. A variant is a subject, a category a discipline.
The picture stands before the text: its placeholder goes where it opens or ends the question, and
stays where a sentence goes on around it.
"""

import re
from collections.abc import Iterable

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import text_of
from calib.data.utility.question import (
    UNKNOWN_ANSWER,
    Questions,
    choice,
    lettered,
    list_in,
    listed,
    text,
)
from calib.data.utility.source import SourceRow, records
from calib.util.errors import CalibError, did_you_mean

PICTURES = tuple(f"image_{number}" for number in range(1, 8))
COLUMNS = ("id", "question", "options", "answer", "question_type", "image_1")
DISCIPLINES = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        *("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine"),
        *("Pharmacy", "Public_Health"),
    ),
    "Humanities and Social Science": ("History", "Literature", "Psychology", "Sociology"),
    "Tech and Engineering": (
        *("Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics"),
        *("Energy_and_Power", "Materials", "Mechanical_Engineering"),
    ),
}
SUBJECTS = {subject: field for field, subjects in DISCIPLINES.items() for subject in subjects}
_PLACE = re.compile(r"<image (\d+)>")


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions with options and one picture, of the subjects in ``config.subsets``.

    Raises CalibError for an unknown subject.
    """
    for subject in config.subsets:
        if subject not in SUBJECTS:
            raise CalibError(
                f"utility.subsets: MMMU has no subject '{subject}'."
                f"{did_you_mean(subject, SUBJECTS)} Choose from {', '.join(sorted(SUBJECTS))}."
            )
    questions = Questions(config, system)
    for record in records(config, COLUMNS):
        row, subject = record.row, _subject(record)
        if config.subsets and subject not in config.subsets:
            continue
        if text_of(row, "question_type") != "multiple-choice":
            questions.leave_out("they are open")
            continue
        options = lettered(list_in(row["options"], f"{record.where}, column 'options'"))
        asked, answer = text(row["question"]), text(row["answer"])
        column = _picture_column(asked, options.values())
        if column is None:
            questions.leave_out("they show several pictures, or none")
            continue
        if answer not in options:
            questions.leave_out(UNKNOWN_ANSWER)
            continue
        questions.add(
            key=text_of(row, "id"),
            variant=subject,
            category=SUBJECTS[subject],
            asked=f"{_without_place(asked)}\n{listed(options)}",
            answer=answer,
            metadata=choice(options),
            picture=record.picture(column),
        )
    return questions.benchmark()


def _subject(record: SourceRow) -> str:
    id = text_of(record.row, "id")
    found = re.fullmatch(r"[a-z]+_(\w+)_\d+", id)
    if not found or found[1] not in SUBJECTS:
        raise CalibError(
            f"{record.where}: '{id}' is no id of MMMU, which are like validation_Accounting_1."
        )
    return found[1]


def _picture_column(asked: str, options: Iterable[str]) -> str | None:
    """The column of the one picture that a question names."""
    named = set(_PLACE.findall(" ".join([asked, *options])))
    column = f"image_{named.pop()}" if len(named) == 1 else None
    return column if column in PICTURES else None


def _without_place(asked: str) -> str:
    return re.sub(rf"\A\s*{_PLACE.pattern}\s*|\s*{_PLACE.pattern}\s*\Z", "", asked)
