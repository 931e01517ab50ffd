"""ScienceQA-IMG (Lu et al., arXiv 2209.09513): multiple-choice school questions about a picture.

The 2,017 questions of the test split that have a picture. Columns: image, question, choices (a
list), answer (index of the correct choice, from 0), hint (context, often empty), subject, topic.
The variant of an example is its subject, the category its topic. Rows have no id: the row number
identifies a question. Questions without a picture, or whose answer is not an option, are skipped;
rows without a question are refused. The repository's own files are read as well
(calib.data.utility.scienceqa_files); there a problem has its number, and its split.
"""

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import cell_prompt, cell_text
from calib.data.utility.question import (
    NO_PICTURE,
    UNKNOWN_ANSWER,
    Questions,
    choice_metadata,
    format_options,
    is_empty,
    letter_options,
    parse_options,
)
from calib.data.utility.scienceqa_files import own_rows
from calib.data.utility.source import read_rows

COLUMNS = ("image", "question", "choices", "answer", "hint", "subject", "topic")


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions with a picture, in table order."""
    questions = Questions(config, system)
    sources = own_rows(config)
    if sources is None:
        sources = [
            (str(source.number), source) for source in read_rows(config, COLUMNS, questions.notes)
        ]
    for key, source in sources:
        row, picture = source.row, source.picture("image")
        if is_empty(picture):
            questions.skip(NO_PICTURE, outside=True)
            continue
        question = cell_prompt(row, "question")
        if not questions.is_complete(question, picture, source.where):
            continue
        cell = f"{source.where}, column 'choices'"
        options = letter_options(parse_options(row["choices"], cell), cell)
        number = cell_prompt(row, "answer")
        if not number.isdecimal() or int(number) >= len(options):
            questions.skip(UNKNOWN_ANSWER)
            continue
        hint = cell_prompt(row, "hint")
        context = [f"Context: {hint}"] if hint else []
        questions.add(
            key=key,
            variant=cell_text(row, "subject") or "none",
            category=cell_text(row, "topic") or "none",
            question="\n".join([*context, question, format_options(options)]),
            answer=list(options)[int(number)],
            metadata=choice_metadata(options),
            picture=picture,
        )
    return questions.benchmark(published(config))


def published(config: PublishedUtility) -> int | None:
    """The number of questions with a picture in the split, if it is known."""
    return 2017 if config.split == "test" else None
