"""POPE (Li et al., arXiv 2305.10355): whether an object is in the picture, yes or no.

9,000 questions about 500 photographs of COCO: six per photograph in each of three categories, which
differ in how absent objects were sampled (random, popular, adversarial). Columns: question_id
(unique in its category), image_source (the photograph), image, question, answer, category. The
variant of an example is its category; questions about the same photograph are a pair. Questions
whose answer is neither yes nor no are skipped; rows without question or picture are refused. POPE's
own files are read as well (calib.data.utility.pope_files).
"""

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.images import PictureBytes, PictureFile
from calib.data.tables import cell_prompt, cell_text
from calib.data.utility.pope_files import CATEGORIES, own_rows
from calib.data.utility.question import NOT_YES_NO, YES_NO, Questions, parse_yes_no
from calib.data.utility.source import read_rows

COLUMNS = ("question_id", "image_source", "image", "question", "answer", "category")
PER_CATEGORY = 3000
"""Questions of a category."""


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions, in table order."""
    questions = Questions(config, system)
    pictures: dict[str, PictureFile | PictureBytes | None] = {}
    sources = own_rows(config)
    for source in read_rows(config, COLUMNS, questions.notes) if sources is None else sources:
        row = source.row
        answer = parse_yes_no(row["answer"])
        if answer is None:
            questions.skip(NOT_YES_NO)
            continue
        category = cell_text(row, "category")
        key = f"{category}/{cell_text(row, 'question_id')}"
        photograph = cell_text(row, "image_source") or key
        question, picture = cell_prompt(row, "question"), source.picture("image")
        if not questions.is_complete(question, picture, source.where):
            continue
        # The table repeats the photograph for each of its questions; one copy is enough.
        pictures.setdefault(photograph, picture)
        questions.add(
            key=key,
            variant=category,
            category=category,
            question=question,
            answer=answer,
            metadata=YES_NO,
            picture=pictures[photograph],
            pair=photograph,
        )
    return questions.benchmark(published(config))


def published(config: PublishedUtility) -> int | None:
    """The number of questions in the split, if it is known."""
    if config.split == "test":
        return PER_CATEGORY * len(CATEGORIES)
    return PER_CATEGORY if config.split in CATEGORIES else None
