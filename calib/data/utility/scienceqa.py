"""ScienceQA-IMG (Lu et al., arXiv 2209.09513): school questions about a picture, with options.

The 2,017 questions of the test split that have a picture. Columns: image, question, choices (a
list), answer (the number of the right one, from 0), hint (what to know first, often empty),
subject, topic. A variant is a subject, a category a topic. Rows have no id: a question is called by
its number in the table.
"""

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.tables import text_of
from calib.data.utility.question import (
    UNKNOWN_ANSWER,
    Questions,
    choice,
    is_empty,
    lettered,
    list_in,
    listed,
    text,
)
from calib.data.utility.source import records

COLUMNS = ("image", "question", "choices", "answer", "hint", "subject", "topic")


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions with a picture, in the order of the table."""
    questions = Questions(config, system)
    for record in records(config, COLUMNS):
        row, picture = record.row, record.picture("image")
        if is_empty(picture):
            questions.leave_out("they have no picture")
            continue
        options = lettered(list_in(row["choices"], f"{record.where}, column 'choices'"))
        number = text(row["answer"])
        if not number.isdecimal() or int(number) >= len(options):
            questions.leave_out(UNKNOWN_ANSWER)
            continue
        hint = text(row["hint"])
        questions.add(
            key=str(record.number),
            variant=text_of(row, "subject") or "none",
            category=text_of(row, "topic") or "none",
            asked="\n".join(
                [*([f"Context: {hint}"] if hint else []), text(row["question"]), listed(options)]
            ),
            answer=list(options)[int(number)],
            metadata=choice(options),
            picture=picture,
        )
    return questions.benchmark()
