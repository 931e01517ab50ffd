"""POPE (Li et al., arXiv 2305.10355): is there such a thing in the picture, yes or no.

9,000 questions about 500 photographs of COCO: six about each photograph in each of three
categories, which differ in how the absent things were drawn (random, popular, adversarial).
Columns: question_id (unique in its category), image_source (the photograph), image, question,
answer, category. A variant is a category; the questions about a photograph are one pair.
"""

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.images import PictureBytes, PictureFile
from calib.data.tables import text_of
from calib.data.utility.question import NO_YES_NO, YES_NO, Questions, text, yes_no
from calib.data.utility.source import records

COLUMNS = ("question_id", "image_source", "image", "question", "answer", "category")


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions, in the order of the table."""
    questions = Questions(config, system)
    pictures: dict[str, PictureFile | PictureBytes | None] = {}
    for record in records(config, COLUMNS):
        row = record.row
        answer = yes_no(row["answer"])
        if answer is None:
            questions.leave_out(NO_YES_NO)
            continue
        category = text_of(row, "category")
        key = f"{category}/{text_of(row, 'question_id')}"
        photograph = text_of(row, "image_source") or key
        # The table repeats a photograph beside each of its questions.
        if photograph not in pictures:
            pictures[photograph] = record.picture("image")
        questions.add(
            key=key,
            variant=category,
            category=category,
            asked=text(row["question"]),
            answer=answer,
            metadata=YES_NO,
            picture=pictures[photograph],
            pair=photograph,
        )
    return questions.benchmark()
