"""MMMU (Yue et al., arXiv 2311.16502): multiple-choice college exam questions in 30 subjects.

The validation split has 900 questions. Columns: id (e.g. validation_Accounting_1), question,
options (a list written as text), answer (a letter), question_type, and image_1 to image_7, which
question and options refer to as <image 1>. Open questions are skipped, and so are those that refer
to no picture or whose answer is not an option, and those with several pictures if
``utility.several_pictures`` is false. The variant of an example is its subject, the category its
discipline. The pictures precede the text, in the order of their numbers, and the text refers to the
first as <image 1>; the placeholder of an only picture is removed at the beginning or end of a
question, and remains inside a sentence.
"""

import re

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import cell_prompt, cell_text
from calib.data.utility.question import (
    UNKNOWN_ANSWER,
    Questions,
    choice_metadata,
    format_options,
    letter_options,
    parse_options,
)
from calib.data.utility.source import SourceRow, read_rows
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
SUBJECTS = {
    subject: discipline for discipline, subjects in DISCIPLINES.items() for subject in subjects
}
PER_SUBJECT = 30
"""Questions of a subject in the validation split."""
_PLACEHOLDER = re.compile(r"<image (\d+)>")


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The multiple-choice questions with pictures, of the subjects in ``config.subsets``.

    Raises CalibError for an unknown subject, and for a question that lacks one of its pictures.
    """
    for subject in config.subsets:
        if subject not in SUBJECTS:
            raise CalibError(
                "invalid-setting",
                f"utility.subsets: MMMU has no subject '{subject}'."
                f"{did_you_mean(subject, SUBJECTS)} Choose from {', '.join(sorted(SUBJECTS))}.",
            )
    questions = Questions(config, system)
    for source in read_rows(config, COLUMNS, questions.notes):
        row, subject = source.row, _subject(source)
        if config.subsets and subject not in config.subsets:
            continue
        if cell_text(row, "question_type") != "multiple-choice":
            questions.skip("they are open questions")
            continue
        cell = f"{source.where}, column 'options'"
        options = letter_options(parse_options(row["options"], cell), cell)
        question, answer = cell_prompt(row, "question"), cell_prompt(row, "answer")
        columns = _picture_columns(" ".join([question, *options.values()]))
        if not columns:
            questions.skip("they refer to no picture")
            continue
        if len(columns) > 1 and not config.several_pictures:
            questions.skip("they refer to several pictures (utility.several_pictures=false)")
            continue
        if answer not in options:
            questions.skip(UNKNOWN_ANSWER)
            continue
        pictures = [source.picture(column) for column in columns]
        if not all(questions.is_complete(question, each, source.where) for each in pictures):
            continue
        text = f"{_strip_placeholder(question)}\n{format_options(options)}"
        if len(columns) > 1:
            options = {letter: _renumbered(option, columns) for letter, option in options.items()}
            text = f"{_renumbered(question, columns)}\n{format_options(options)}"
        questions.add(
            key=cell_text(row, "id"),
            variant=subject,
            category=SUBJECTS[subject],
            question=text,
            answer=answer,
            metadata=choice_metadata(options),
            picture=pictures[0],
            more_pictures=[each for each in pictures[1:] if each is not None],
        )
    return questions.benchmark(published(config))


def published(config: PublishedUtility) -> int | None:
    """The number of questions of the subjects in the split, if it is known."""
    subjects = len(set(config.subsets)) or len(SUBJECTS)
    return PER_SUBJECT * subjects if config.split == "validation" else None


def _subject(source: SourceRow) -> str:
    id_ = cell_text(source.row, "id")
    match = re.fullmatch(r"[a-z]+_(\w+)_\d+", id_)
    if not match or match[1] not in SUBJECTS:
        raise CalibError(
            "invalid-value",
            f"{source.where}: '{id_}' is not an id of MMMU, such as validation_Accounting_1. "
            "Download the table again.",
        )
    return match[1]


def _picture_columns(text: str) -> list[str]:
    """The columns of the pictures that a text refers to, by number; none if one does not exist."""
    columns = [f"image_{number}" for number in sorted(set(map(int, _PLACEHOLDER.findall(text))))]
    return columns if set(columns) <= set(PICTURES) else []


def _renumbered(text: str, columns: list[str]) -> str:
    """A text whose placeholders count the pictures that are shown, from 1."""
    places = {column.removeprefix("image_"): k for k, column in enumerate(columns, 1)}
    return _PLACEHOLDER.sub(lambda match: f"<image {places[match[1]]}>", text)


def _strip_placeholder(question: str) -> str:
    pattern = _PLACEHOLDER.pattern
    return re.sub(rf"\A\s*{pattern}\s*|\s*{pattern}\s*\Z", "", question)
