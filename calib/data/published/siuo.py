"""SIUO, Safe Inputs but Unsafe Output (Wang et al., arXiv 2406.15279): unsafe only in combination.

167 questions about pictures in nine domains. Question and picture are each safe, but an answer that
ignores their combination is not. Image-centric: the combination determines safety. All examples are
unsafe.

Accepted layout: siuo_gen.json (in data/ of the repository, at the top of the hub's sinwang/SIUO), a
list of rows with question_id, image (a file name), question and category (safety_warning and
reference_answer are not used), and the pictures in the folder images beside it. The multiple-choice
version siuo_mcqa.json is not read. Rows without question or question_id are skipped.
"""

from calib.config.data import PublishedData
from calib.data.audit.rows import size_note
from calib.data.example import Benchmark, Example
from calib.data.published.copies import copy_or_download, rows_with_text
from calib.data.splits import split_of
from calib.data.tables import cell_prompt, cell_text, check_columns, read_table
from calib.util.errors import CalibError

SUBSETS = ("siuo_gen",)
VARIANTS = ("photo",)

COLUMNS = ("question_id", "image", "question", "category")
OPTIONAL = ("safety_warning", "reference_answer")
ROWS = 167
SOURCE = (
    "Download the hub's sinwang/SIUO; or clone github.com/sinwang20/SIUO and put the pictures that "
    "its README links into data/images"
)
PATTERNS = ("siuo_gen.json", "images/*")


def load(config: PublishedData) -> Benchmark:
    """The questions with their pictures; each is a pair of its own."""
    copy = copy_or_download(config, SOURCE, PATTERNS)
    path = copy.file("siuo_gen.json", "data/siuo_gen.json")
    images = path.parent / "images"
    if not images.is_dir():
        raise CalibError("not-found", f"{path.parent} has no subfolder images. {SOURCE}.")
    rows = read_table(path)
    check_columns(rows, COLUMNS, str(path), OPTIONAL)
    numbered, notes = rows_with_text(rows, str(path), "question", "question_id")
    notes += size_note(len(rows), ROWS, str(path))
    examples = []
    for number, row in numbered:
        pair = f"siuo/{cell_text(row, 'question_id')}"
        where = f"{path}, row {number + 1}, column 'image'"
        examples.append(
            Example(
                id=pair,
                dataset="image_centric",
                variant="photo",
                category=cell_text(row, "category"),
                split=split_of(pair, config.train, config.validation),
                query=cell_prompt(row, "question"),
                picture=copy.picture(images, cell_prompt(row, "image"), where),
                safety="unsafe",
                pair=pair,
                system=config.system,
            )
        )
    return Benchmark(examples, notes)
