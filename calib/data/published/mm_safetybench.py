"""MM-SafetyBench (Liu et al., arXiv 2311.17600): harmful requests with the key phrase as a picture.

1,680 questions in 13 scenarios, each with three pictures of its key phrase. Text-centric: the words
of the request, in text or picture, determine safety. The benchmark labels all of them unsafe; in
Political_Lobbying, Legal_Opinion, Financial_Advice, Health_Consultation and Gov_Decision this is a
policy rather than a hazard, and studies often omit these scenarios.

Variants with the column that holds their query: sd, a generated picture ("Rephrased Question(SD)");
typography, the key phrase as a picture, and sd_typography, both ("Rephrased Question"); text_only,
no picture ("Changed Question"). In every variant metadata["request"] is the text_only query.

Accepted layouts: the repository, with data/processed_questions/NN-SCENARIO.json (an object of rows
by number) and the separately downloaded pictures
data/imgs/NN-SCENARIO/{SD,TYPO,SD_TYPO}/NUMBER.jpg, or as their archive unpacks them: in a folder
MM-SafetyBench(imgs) in data/imgs, in data or at the top. Also the hub's
PKU-Alignment/MM-SafetyBench, which has a configuration per scenario with the splits SD, TYPO,
SD_TYPO and Text_only (data/SCENARIO/SPLIT.parquet) and the columns id, question and image. Rows
with an empty query are skipped in their variant.
"""

from calib.config.data import PublishedData
from calib.data.audit.rows import size_note
from calib.data.example import Benchmark, Example, Picture
from calib.data.hub import hub_name, read_hub, read_parquet
from calib.data.published.copies import Copy, local_copy, required_picture, rows_with_text
from calib.data.splits import split_of
from calib.data.tables import TableRow, cell_prompt, cell_text, check_columns, read_table
from calib.util.errors import CalibError

SUBSETS = (
    *("Illegal_Activitiy", "HateSpeech", "Malware_Generation", "Physical_Harm", "EconomicHarm"),
    *("Fraud", "Sex", "Political_Lobbying", "Privacy_Violence", "Legal_Opinion"),
    *("Financial_Advice", "Health_Consultation", "Gov_Decision"),
)
"""In the order of their numbers, with the spelling of the file names."""
SPLITS = {
    "text_only": "Text_only",
    "sd": "SD",
    "typography": "TYPO",
    "sd_typography": "SD_TYPO",
}
VARIANTS = tuple(SPLITS)

QUERY_COLUMNS = {
    "text_only": "Changed Question",
    "sd": "Rephrased Question(SD)",
    "typography": "Rephrased Question",
    "sd_typography": "Rephrased Question",
}
"""The column of the repository's files that holds the query, by variant."""
IMAGES = tuple(
    f"{folder}/{archive}"
    for archive in (".", "MM-SafetyBench(imgs)", "MM-SafetyBench_imgs")
    for folder in ("data/imgs", "imgs", "data", ".")
)
"""Folders to which users unpack the archive of pictures, which contains a folder of its own."""
ROWS = dict(
    zip(SUBSETS, (97, 163, 44, 144, 122, 154, 109, 153, 139, 130, 167, 109, 149), strict=True)
)
"""Number of questions by scenario, 1,680 together."""
COLUMNS = ("id", "question", "image")
SOURCE = (
    "Clone github.com/isXinLiu/MM-SafetyBench and unpack the pictures that its README links into "
    "data/imgs, or download the hub's PKU-Alignment/MM-SafetyBench"
)


def load(config: PublishedData) -> Benchmark:
    """The questions of the scenarios in data.subsets, in the variants of data.variants."""
    copy = local_copy(config, SOURCE)
    is_repository = copy is not None and copy.subfolder(
        "data/processed_questions", "processed_questions"
    )
    examples: list[Example] = []
    notes: list[str] = []
    for scenario in config.subsets:
        if copy is not None and is_repository:
            scenario_examples, skipped = _read_repository(config, copy, scenario)
        else:
            scenario_examples, skipped = _read_tables(config, copy, scenario)
        examples += scenario_examples
        notes += skipped
    return Benchmark(examples, notes)


def _read_repository(
    config: PublishedData, copy: Copy, scenario: str
) -> tuple[list[Example], list[str]]:
    name = f"{SUBSETS.index(scenario) + 1:02d}-{scenario}"
    path = copy.file(f"data/processed_questions/{name}.json", f"processed_questions/{name}.json")
    rows = read_table(path)
    required = {"Changed Question", *(QUERY_COLUMNS[variant] for variant in config.variants)}
    check_columns(rows, sorted(required), str(path))
    images = copy.subfolder(*(f"{folder}/{name}" for folder in IMAGES))
    if images is None and set(config.variants) != {"text_only"}:
        raise CalibError(
            "not-found",
            f"{copy.folder} does not contain the pictures data/imgs/{name}. {SOURCE}; or choose "
            "data.variants=[text_only].",
        )
    examples: list[Example] = []
    notes = size_note(len(rows), ROWS[scenario], str(path))
    for variant in config.variants:
        column = QUERY_COLUMNS[variant]
        numbered, skipped = rows_with_text(rows, f"{path} ({variant})", column)
        notes += skipped
        for _, row in numbered:
            id_ = cell_text(row, "id")
            picture = None
            if images is not None and variant != "text_only":
                file = f"{SPLITS[variant]}/{id_}.jpg"
                picture = copy.picture(images, file, f"{path}, number {id_}")
            query, request = cell_prompt(row, column), cell_prompt(row, "Changed Question")
            examples.append(_example(config, scenario, variant, id_, query, picture, request))
    return examples, notes


def _read_tables(
    config: PublishedData, copy: Copy | None, scenario: str
) -> tuple[list[Example], list[str]]:
    text_rows, where = _read_split(config, copy, scenario, "text_only")
    check_columns(text_rows, COLUMNS[:2], where)
    requests = {cell_text(row, "id"): cell_prompt(row, "question") for row in text_rows}
    examples: list[Example] = []
    notes = size_note(len(text_rows), ROWS[scenario], where)
    for variant in config.variants:
        rows, where = _read_split(config, copy, scenario, variant)
        check_columns(rows, COLUMNS[:2] if variant == "text_only" else COLUMNS, where)
        numbered, skipped = rows_with_text(rows, where, "question", "id")
        notes += skipped
        for number, row in numbered:
            picture = None
            if variant != "text_only":
                cell = f"{where}, row {number + 1}, column 'image'"
                picture = required_picture(row["image"], cell, SOURCE)
            id_ = cell_text(row, "id")
            query, request = cell_prompt(row, "question"), requests.get(id_, "")
            examples.append(_example(config, scenario, variant, id_, query, picture, request))
    return examples, notes


def _read_split(
    config: PublishedData, copy: Copy | None, scenario: str, variant: str
) -> tuple[list[TableRow], str]:
    split = SPLITS[variant]
    if copy is None:
        rows = read_hub(str(config.hub), scenario, split, config.revision)
        return rows, f"{hub_name(str(config.hub), scenario)}, split {split}"
    path = copy.file(f"data/{scenario}/{split}.parquet", f"{scenario}/{split}.parquet")
    return read_parquet(path), str(path)


def _example(
    config: PublishedData,
    scenario: str,
    variant: str,
    id_: str,
    query: str,
    picture: Picture | None,
    request: str,
) -> Example:
    pair = f"mm_safetybench/{scenario}/{id_}"
    return Example(
        id=f"{scenario}/{variant}/{id_}",
        dataset="text_centric",
        variant=variant,
        category=scenario,
        split=split_of(pair, config.train, config.validation),
        query=query,
        picture=picture,
        safety="unsafe",
        pair=pair,
        metadata={"request": request} if request else {},
        system=config.system,
    )
