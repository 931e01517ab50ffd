"""MME (Fu et al., arXiv 2306.13394): yes-or-no questions on perception and cognition, 14 subtasks.

2,374 questions, two about each picture: the answer to one is yes, to the other no. Columns:
question_id (the picture), image, question, answer, category (the subtask). The variant of an
example is its subtask. Questions about the same picture are a pair, the unit of accuracy+
(calib.scoring.metrics). Questions end with their own instruction, which ``utility.prompt``
replaces. Questions whose answer is neither yes nor no are skipped; rows without question or picture
are refused.
"""

from collections import Counter

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.images import PictureBytes, PictureFile
from calib.data.tables import cell_prompt, cell_text
from calib.data.utility.question import NOT_YES_NO, YES_NO, Questions, parse_yes_no
from calib.data.utility.source import read_rows
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
    """The questions, in table order. Raises CalibError for an unknown subtask."""
    questions = Questions(config, system)
    counts: Counter[str] = Counter()
    pictures: dict[str, PictureFile | PictureBytes | None] = {}
    for source in read_rows(config, COLUMNS, questions.notes):
        row = source.row
        subtask = cell_text(row, "category")
        if subtask not in SUBTASKS:
            raise CalibError(
                "invalid-value",
                f"{source.where}: MME has no subtask '{subtask}'.{did_you_mean(subtask, SUBTASKS)} "
                f"Its subtasks are {', '.join(SUBTASKS)}.",
            )
        pair = f"{subtask}/{cell_text(row, 'question_id') or source.number}"
        number = counts[pair]
        counts[pair] += 1
        answer = parse_yes_no(row["answer"])
        if answer is None:
            questions.skip(NOT_YES_NO)
            continue
        question, picture = cell_prompt(row, "question"), source.picture("image")
        if not questions.is_complete(question, picture, source.where):
            continue
        # The table repeats the picture for each of its questions; one copy is enough.
        pictures.setdefault(pair, picture)
        if config.prompt:
            question = question.removesuffix(INSTRUCTION).rstrip()
        questions.add(
            key=f"{pair}/{number}",
            variant=subtask,
            category=SUBTASKS[subtask],
            question=question,
            answer=answer,
            metadata=YES_NO,
            picture=pictures[pair],
            pair=pair,
        )
    return questions.benchmark(published(config))


def published(config: PublishedUtility) -> int | None:
    """The number of questions in the split, if it is known."""
    return 2374 if config.split == "test" else None
