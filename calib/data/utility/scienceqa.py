"""ScienceQA-IMG (Lu et al., arXiv 2209.09513): multiple-choice school questions about a picture.

The 2,017 questions of the test split that have a picture. Columns: image, question, choices (a
list), answer (index of the correct choice, from 0), hint (context, often empty), subject, topic.
The variant of an example is its subject, the category its topic. Rows have no id: the row number
identifies a question. Questions without a picture, or whose answer is not an option, are skipped.
"""

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import cell_prompt, cell_text
from calib.data.utility.question import (
    UNKNOWN_ANSWER,
    Questions,
    choice_metadata,
    format_options,
    is_empty,
    letter_options,
    parse_options,
)
from calib.data.utility.source import read_rows

COLUMNS = ("image", "question", "choices", "answer", "hint", "subject", "topic")


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions with a picture, in table order."""
    questions = Questions(config, system)
    for source in read_rows(config, COLUMNS):
        row, picture = source.row, source.picture("image")
        if is_empty(picture):
            questions.skip("they have no picture")
            continue
        options = letter_options(parse_options(row["choices"], f"{source.where}, column 'choices'"))
        number = cell_prompt(row, "answer")
        if not number.isdecimal() or int(number) >= len(options):
            questions.skip(UNKNOWN_ANSWER)
            continue
        hint = cell_prompt(row, "hint")
        context = [f"Context: {hint}"] if hint else []
        questions.add(
            key=str(source.number),
            variant=cell_text(row, "subject") or "none",
            category=cell_text(row, "topic") or "none",
            question="\n".join([*context, cell_prompt(row, "question"), format_options(options)]),
            answer=list(options)[int(number)],
            metadata=choice_metadata(options),
            picture=picture,
        )
    return questions.benchmark()
