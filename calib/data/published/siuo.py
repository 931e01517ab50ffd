"""SIUO, Safe Inputs but Unsafe Output (Wang et al., arXiv 2406.15279): safe apart, unsafe together.

167 questions about pictures in nine domains; question and picture are each safe, and an answer that
misses what they mean together is not. Image-centric: the combination decides. All are unsafe.

siuo_gen.json (in data/ of the repository, at the top of the hub's sinwang/SIUO) is a list of rows
with question_id, image (a file name), question, category, safety_warning and reference_answer; the
pictures lie in images/ beside it. The multiple-choice form siuo_mcqa.json is not read.
"""

from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, split_of
from calib.data.published.copies import fetched_copy, prompt_of, with_text
from calib.data.tables import checked_columns, read_table, text_of
from calib.util.errors import CalibError

SUBSETS = ("siuo_gen",)
VARIANTS = ("photo",)

COLUMNS = ("question_id", "image", "question", "category")
KNOWN = ("safety_warning", "reference_answer")
GET = (
    "Download the hub's sinwang/SIUO; or clone github.com/sinwang20/SIUO and put the pictures its "
    "README links into data/images"
)
PATTERNS = ("siuo_gen.json", "images/*")


def load(config: PublishedData) -> Benchmark:
    """The questions with their pictures; each is a pair of its own."""
    copy = fetched_copy(config, GET, PATTERNS)
    path = copy.file("siuo_gen.json", "data/siuo_gen.json")
    images = path.parent / "images"
    if not images.is_dir():
        raise CalibError(f"{path.parent} holds no folder images. {GET}.")
    rows = read_table(path)
    checked_columns(rows, COLUMNS, str(path), KNOWN)
    numbered, notes = with_text(rows, str(path), "question", "question_id")
    examples = []
    for number, row in numbered:
        pair = f"siuo/{text_of(row, 'question_id')}"
        what = f"{path}, row {number + 1}, column 'image'"
        examples.append(
            Example(
                id=pair,
                dataset="image_centric",
                variant="photo",
                category=text_of(row, "category"),
                split=split_of(pair, config.train, config.validation),
                query=prompt_of(row, "question"),
                picture=copy.picture(images, prompt_of(row, "image"), what),
                safety="unsafe",
                pair=pair,
                system=config.system,
            )
        )
    return Benchmark(examples, notes)
