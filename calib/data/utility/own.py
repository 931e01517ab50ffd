"""Questions of your own: a table of questions with their answers, with or without pictures.

Columns: question and answer; and, where they apply, id, image, options, other_answers, category
(the variant of an example) and cluster (shared by the questions about the same thing: they have the
same split, and count as one cluster in intervals). Without an id a question is named by its row.

The row says what kind of question it is. With options (a list) the answer is the letter or the text
of one; they are asked in the form of ``A. ...``, a line each. The answer yes or no makes a
yes-or-no question. Any other answer makes an open question, whose response is right if the first
answer that it names is this one (calib.scoring.open_answers): a cell with a list has several
accepted answers, and other_answers lists wrong ones.
"""

import json
from collections.abc import Sequence
from string import ascii_lowercase

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import cell_prompt, cell_text, unread_columns
from calib.data.utility.question import (
    YES_NO,
    Questions,
    choice_metadata,
    format_options,
    letter_options,
    parse_options,
    parse_yes_no,
)
from calib.data.utility.source import SourceRow, read_rows
from calib.util.answer_text import normal_answer
from calib.util.errors import CalibError

COLUMNS = ("question", "answer")
OPTIONAL = ("id", "image", "options", "other_answers", "category", "cluster")
OTHER_NAMES = {
    "choices": "options", "query": "question", "text": "question", "label": "answer",
    "answers": "answer", "picture": "image", "images": "image", "image_path": "image",
    "concept": "cluster", "group": "cluster",
}  # fmt: skip
"""Names that other tables have for these columns."""


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions, in table order, with a note on columns that are not read. Raises CalibError
    for a row without question or answer, for cells that are no list where a list is needed, for an
    answer that is not one of the options, and for a column that resembles a missing one."""
    questions = Questions(config, system)
    sources = read_rows(config, COLUMNS, questions.notes)
    rows, where = [source.row for source in sources], f"utility={config.name}"
    unread = unread_columns(rows, (*COLUMNS, *OPTIONAL), OTHER_NAMES, where)
    if unread:
        questions.notes.append(f"{config.name}: columns that are not read: {', '.join(unread)}")
    for source in sources:
        question = cell_prompt(source.row, "question", source.where)
        if not question:
            questions.skip_incomplete(question, source.where)
            continue
        if config.skip_broken and not _texts(source, "answer"):
            questions.skip("they have no answer")
            continue
        options, answer, metadata = _answer(source)
        category = cell_text(source.row, "category", source.where)
        questions.add(
            key=cell_text(source.row, "id", source.where) or str(source.number + 1),
            variant=category or config.name,
            category=category or config.name,
            question=f"{question}\n{format_options(options)}" if options else question,
            answer=answer,
            metadata=metadata,
            picture=source.picture("image"),
            concept=cell_text(source.row, "cluster", source.where) or None,
        )
    return questions.benchmark(published=None)


def _answer(source: SourceRow) -> tuple[dict[str, str], str, dict[str, str]]:
    """Options by letter, the answer and the metadata of a row."""
    row = source.row
    if row.get("options"):
        where = f"{source.where}, column 'options'"
        texts = [" ".join(text.split()) for text in parse_options(row["options"], where)]
        if not all(texts) or len(set(texts)) < len(texts):
            raise CalibError(
                "invalid-value",
                f"{where} has an empty option, or one twice: {texts!r:.200}. Correct the cell.",
            )
        options = letter_options(texts, where)
        given = cell_text(row, "answer", source.where)
        letters = [letter for letter, text in options.items() if given in (letter, text)]
        if len(letters) != 1:
            raise CalibError(
                "invalid-value",
                f"{source.where}: the answer {given!r:.80} is not one of the options "
                f"{options!r:.200}. Give the letter or the text of one.",
            )
        return options, letters[0], choice_metadata(options)
    accepted, others = (_texts(source, column) for column in ("answer", "other_answers"))
    if not accepted:
        raise CalibError("missing-value", f"{source.where} has no answer. Complete or remove it.")
    if not others and len(accepted) == 1 and (yes_no := parse_yes_no(accepted[0])):
        return {}, yes_no, dict(YES_NO)
    if len(accepted) == 1 and (other := _TRUE_FALSE.get(accepted[0].casefold())):
        others = [other]
    _check_answers(source, accepted, others)
    lists = {"answers": accepted, "other_answers": others}
    dumped = {key: json.dumps(texts, ensure_ascii=False) for key, texts in lists.items()}
    return {}, accepted[0], {"kind": "open", **dumped}


_TRUE_FALSE = {"true": "false", "false": "true"}
_LONGEST = 300
"""Characters of an answer to an open question."""


def _check_answers(source: SourceRow, accepted: Sequence[str], others: Sequence[str]) -> None:
    """Raise CalibError for an answer to an open question that no response could be read for."""
    for answer in (*accepted, *others):
        normal = normal_answer(answer)
        if not normal or len(normal) > _LONGEST or (len(normal) == 1 and normal in ascii_lowercase):
            raise CalibError(
                "unsupported",
                f"{source.where}: {answer!r:.80} cannot be looked for in responses. Give a word or "
                f"a number of at most {_LONGEST} characters. For the letter of an option, give the "
                "options in a column 'options', as a list: ['first', 'second'].",
            )
        if "|" in answer or ";" in answer:
            raise CalibError(
                "invalid-value",
                f"{source.where}: {answer!r:.80} looks like several answers. Write them as a list: "
                "['first', 'second'].",
            )
    if both := {*map(normal_answer, accepted)} & {*map(normal_answer, others)}:
        raise CalibError(
            "invalid-value",
            f"{source.where}: {sorted(both)[0]!r:.80} is in answer and in other_answers. Remove it "
            "from one of them.",
        )


def _texts(source: SourceRow, column: str) -> list[str]:
    """The texts in a cell: a single one, or those of a list, also of one written as text."""
    cell = source.row.get(column)
    written = isinstance(cell, str) and cell.strip().startswith("[") and cell.strip().endswith("]")
    if isinstance(cell, list | tuple) or written:
        texts = parse_options(cell, f"{source.where}, column '{column}'")
    else:
        texts = [cell_text(source.row, column, source.where)]
    return [text for text in texts if text]
