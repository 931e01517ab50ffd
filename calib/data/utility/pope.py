"""POPE (Li et al., arXiv 2305.10355): whether an object is in the picture, yes or no.

9,000 questions about 500 photographs of COCO: six per photograph in each of three categories, which
differ in how absent objects were sampled (random, popular, adversarial). Columns: question_id
(unique in its category), image_source (the photograph), image, question, answer, category. The
variant of an example is its category; questions about the same photograph are a pair. Questions
whose answer is neither yes nor no are skipped.
"""

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.images import PictureBytes, PictureFile
from calib.data.tables import cell_prompt, cell_text
from calib.data.utility.question import NOT_YES_NO, YES_NO, Questions, parse_yes_no
from calib.data.utility.source import read_rows

COLUMNS = ("question_id", "image_source", "image", "question", "answer", "category")


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions, in table order."""
    questions = Questions(config, system)
    pictures: dict[str, PictureFile | PictureBytes | None] = {}
    for source in read_rows(config, COLUMNS):
        row = source.row
        answer = parse_yes_no(row["answer"])
        if answer is None:
            questions.skip(NOT_YES_NO)
            continue
        category = cell_text(row, "category")
        key = f"{category}/{cell_text(row, 'question_id')}"
        photograph = cell_text(row, "image_source") or key
        # The table repeats the photograph for each of its questions; one copy is enough.
        if photograph not in pictures:
            pictures[photograph] = source.picture("image")
        questions.add(
            key=key,
            variant=category,
            category=category,
            question=cell_prompt(row, "question"),
            answer=answer,
            metadata=YES_NO,
            picture=pictures[photograph],
            pair=photograph,
        )
    return questions.benchmark()
