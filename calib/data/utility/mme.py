"""MME (Fu et al., arXiv 2306.13394): 14 subtasks of perception and cognition, yes or no.

2,374 questions, two about each picture, one of which is answered yes and one no. Columns:
question_id (the picture), image, question, answer, category (the subtask). A variant is a subtask;
the questions about a picture are one pair, over which accuracy+ (calib.scoring.metrics)
counts. Questions end with an instruction of their own, whose place ``utility.prompt`` takes.
"""

from collections import Counter

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.images import PictureBytes, PictureFile
from calib.data.tables import text_of
from calib.data.utility.question import NO_YES_NO, YES_NO, Questions, text, yes_no
from calib.data.utility.source import records
from calib.util.errors import CalibError, did_you_mean

COLUMNS = ("question_id", "image", "question", "answer", "category")
KINDS = {
    "perception": (
        *("existence", "count", "position", "color", "posters", "celebrity", "scene"),
        *("landmark", "artwork", "OCR"),
    ),
    "cognition": (
        *("commonsense_reasoning", "numerical_calculation", "text_translation"),
        "code_reasoning",
    ),
}
SUBTASKS = {subtask: kind for kind, subtasks in KINDS.items() for subtask in subtasks}
INSTRUCTION = "Please answer yes or no."


def load(config: PublishedUtility, system: str | None) -> Benchmark:
    """The questions, in the order of the table. Raises CalibError for an unknown subtask."""
    questions = Questions(config, system)
    asked_before: Counter[str] = Counter()
    pictures: dict[str, PictureFile | PictureBytes | None] = {}
    for record in records(config, COLUMNS):
        row = record.row
        subtask = text_of(row, "category")
        if subtask not in SUBTASKS:
            raise CalibError(
                f"{record.where}: MME has no subtask '{subtask}'.{did_you_mean(subtask, SUBTASKS)} "
                f"Its subtasks are {', '.join(SUBTASKS)}."
            )
        picture = f"{subtask}/{text_of(row, 'question_id') or record.number}"
        number = asked_before[picture]
        asked_before[picture] += 1
        answer = yes_no(row["answer"])
        if answer is None:
            questions.leave_out(NO_YES_NO)
            continue
        if picture not in pictures:
            pictures[picture] = record.picture("image")
        asked = text(row["question"])
        if config.prompt:
            asked = asked.removesuffix(INSTRUCTION).rstrip()
        questions.add(
            key=f"{picture}/{number}",
            variant=subtask,
            category=SUBTASKS[subtask],
            asked=asked,
            answer=answer,
            metadata=YES_NO,
            picture=pictures[picture],
            pair=picture,
        )
    return questions.benchmark()
