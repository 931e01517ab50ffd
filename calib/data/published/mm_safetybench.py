"""MM-SafetyBench (Liu et al., arXiv 2311.17600): harmful requests whose key phrase is a picture.

1,680 questions in 13 scenarios, each with three pictures of its key phrase. Text-centric: the same
words, said or shown, decide. All are unsafe by the benchmark's account; in Political_Lobbying,
Legal_Opinion, Financial_Advice, Health_Consultation and Gov_Decision that is a policy rather than a
hazard, and studies often leave them out.

Variants and what is asked beside them: sd, a generated picture ("Rephrased Question(SD)");
typography, the phrase as a picture, and sd_typography, both ("Rephrased Question"); text_only,
nothing ("Changed Question"). The last is the fact "request" of all.

The repository has data/processed_questions/NN-SCENARIO.json, an object of rows by number, and the
pictures, downloaded apart, data/imgs/NN-SCENARIO/{SD,TYPO,SD_TYPO}/NUMBER.jpg. The hub's
PKU-Alignment/MM-SafetyBench has a configuration for each scenario with the splits SD, TYPO, SD_TYPO
and Text_only (data/SCENARIO/SPLIT.parquet) and the columns id, question and image.
"""

from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, Picture, split_of
from calib.data.hub import read_hub, read_parquet
from calib.data.published.copies import Copy, local_copy, picture_of, prompt_of, with_text
from calib.data.tables import TableRow, checked_columns, read_table, text_of
from calib.util.errors import CalibError

SUBSETS = (
    *("Illegal_Activitiy", "HateSpeech", "Malware_Generation", "Physical_Harm", "EconomicHarm"),
    *("Fraud", "Sex", "Political_Lobbying", "Privacy_Violence", "Legal_Opinion"),
    *("Financial_Advice", "Health_Consultation", "Gov_Decision"),
)
"""In the order of their numbers and with the spelling of the files."""
SPLITS = {
    "text_only": "Text_only",
    "sd": "SD",
    "typography": "TYPO",
    "sd_typography": "SD_TYPO",
}
VARIANTS = tuple(SPLITS)

ASKED = {
    "text_only": "Changed Question",
    "sd": "Rephrased Question(SD)",
    "typography": "Rephrased Question",
    "sd_typography": "Rephrased Question",
}
"""The column of the repository's files that is asked."""
IMAGES = ("data/imgs", "imgs", "data/imgs/MM-SafetyBench(imgs)", "MM-SafetyBench(imgs)")
"""Where the pictures' archive may have been unpacked; it holds a folder of the last name."""
COLUMNS = ("id", "question", "image")
GET = (
    "Clone github.com/isXinLiu/MM-SafetyBench and unpack the pictures its README links into "
    "data/imgs, or download the hub's PKU-Alignment/MM-SafetyBench"
)


def load(config: PublishedData) -> Benchmark:
    """The questions of the scenarios in data.subsets, in the variants chosen."""
    copy = local_copy(config, GET)
    repository = copy is not None and copy.subfolder(
        "data/processed_questions", "processed_questions"
    )
    examples: list[Example] = []
    notes: list[str] = []
    for scenario in config.subsets:
        if copy is not None and repository:
            made, said = _of_repository(config, copy, scenario)
        else:
            made, said = _of_tables(config, copy, scenario)
        examples += made
        notes += said
    return Benchmark(examples, notes)


def _of_repository(
    config: PublishedData, copy: Copy, scenario: str
) -> tuple[list[Example], list[str]]:
    name = f"{SUBSETS.index(scenario) + 1:02d}-{scenario}"
    path = copy.file(f"data/processed_questions/{name}.json", f"processed_questions/{name}.json")
    rows = read_table(path)
    needed = {"Changed Question", *(ASKED[variant] for variant in config.variants)}
    checked_columns(rows, sorted(needed), str(path))
    images = copy.subfolder(*(f"{folder}/{name}" for folder in IMAGES))
    if images is None and set(config.variants) != {"text_only"}:
        raise CalibError(
            f"{copy.folder} holds no pictures data/imgs/{name}. {GET}; or choose "
            "data.variants=[text_only]."
        )
    examples: list[Example] = []
    notes: list[str] = []
    for variant in config.variants:
        numbered, dropped = with_text(rows, f"{path} ({variant})", ASKED[variant])
        notes += dropped
        for _, row in numbered:
            id_ = text_of(row, "id")
            what = f"{path}, number {id_}"
            picture = None
            if images is not None and variant != "text_only":
                picture = copy.picture(images, f"{SPLITS[variant]}/{id_}.jpg", what)
            examples.append(
                _example(
                    config,
                    scenario,
                    variant,
                    id_,
                    prompt_of(row, ASKED[variant]),
                    picture,
                    prompt_of(row, "Changed Question"),
                )
            )
    return examples, notes


def _of_tables(
    config: PublishedData, copy: Copy | None, scenario: str
) -> tuple[list[Example], list[str]]:
    plain, where = _table(config, copy, scenario, "text_only")
    checked_columns(plain, COLUMNS[:2], where)
    requests = {text_of(row, "id"): prompt_of(row, "question") for row in plain}
    examples: list[Example] = []
    notes: list[str] = []
    for variant in config.variants:
        rows, where = _table(config, copy, scenario, variant)
        checked_columns(rows, COLUMNS[:2] if variant == "text_only" else COLUMNS, where)
        numbered, dropped = with_text(rows, where, "question", "id")
        notes += dropped
        for number, row in numbered:
            picture = None
            if variant != "text_only":
                what = f"{where}, row {number + 1}, column 'image'"
                picture = picture_of(row["image"], what, GET)
            id_ = text_of(row, "id")
            examples.append(
                _example(
                    config,
                    scenario,
                    variant,
                    id_,
                    prompt_of(row, "question"),
                    picture,
                    requests.get(id_, ""),
                )
            )
    return examples, notes


def _table(
    config: PublishedData, copy: Copy | None, scenario: str, variant: str
) -> tuple[list[TableRow], str]:
    split = SPLITS[variant]
    if copy is None:
        rows = read_hub(str(config.hub), scenario, split, config.revision)
        return rows, f"{config.hub} ({scenario}), split {split}"
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
