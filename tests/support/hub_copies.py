"""Copies of the hub's benchmarks and question sets with its ids, subsets, splits and columns.

load_dataset("Paul/XSTest", split="train")  # replaces datasets.load_dataset
"""

import datasets
import yaml
from benchmark_copies import Rows, behaviours, colour, mm_question, mossbench, or_bench, xstest
from utility_tables import FEATURES, MME, MMMU, MMSTAR, POPE, SCIENCEQA, png

from calib.config.schemas import CONF
from calib.data.published.mm_safetybench import SPLITS, SUBSETS


def _with_image(rows: Rows, column: str = "image") -> Rows:
    return [{**row, column: {"bytes": png(colour(k)), "path": None}} for k, row in enumerate(rows)]


def _mm_tables() -> dict[str, dict[str, Rows]]:
    keys = {"SD": "Rephrased Question(SD)", "Text_only": "Changed Question"}
    tables: dict[str, Rows] = {}
    for split in SPLITS.values():
        key = keys.get(split, "Rephrased Question")
        rows = [{"id": str(k), "question": mm_question(k)[key]} for k in range(3)]
        tables[split] = _with_image(rows) if split != "Text_only" else rows
    return dict.fromkeys(SUBSETS, tables)


def _pope() -> dict[str, dict[str, Rows]]:
    full = {split: POPE for split in ("adversarial", "popular", "random")}
    return {"default": {"test": POPE}, "Full": full}


def _mmmu() -> dict[str, dict[str, Rows]]:
    subjects = yaml.safe_load((CONF / "utility" / "mmmu.yaml").read_text(encoding="utf-8"))[
        "subsets"
    ]
    rows = [row for part in MMMU.values() for row in part]
    tables = {}
    for subject in subjects:
        named = [{**row, "id": f"validation_{subject}_{k}"} for k, row in enumerate(rows)]
        tables[subject] = {"validation": named}
    return tables


def hub_tables() -> dict[str, dict[str, dict[str, Rows]]]:
    """The hub's rows by dataset, subset and split."""
    return {
        "Paul/XSTest": {"default": {"train": xstest()}},
        "JailbreakBench/JBB-Behaviors": {
            "behaviors": {side: behaviours(side) for side in ("harmful", "benign")}
        },
        "bench-llm/or-bench": {
            subset: {"train": or_bench(subset)}
            for subset in ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic")
        },
        "AIcell/MOSSBench": {
            "oversensitivity": {"train": _with_image(list(mossbench("as it is").values()))}
        },
        "PKU-Alignment/MM-SafetyBench": _mm_tables(),
        "lmms-lab-encoder/MME": {"default": {"test": MME}},
        "lmms-lab-encoder/POPE": _pope(),
        "lmms-lab-encoder/ScienceQA": {"ScienceQA-IMG": {"test": SCIENCEQA}},
        "Lin-Chen/MMStar": {"val": {"val": MMSTAR}},
        "MMMU/MMMU": _mmmu(),
    }


UTILITY_OF = {
    "lmms-lab-encoder/MME": "mme", "lmms-lab-encoder/POPE": "pope", "MMMU/MMMU": "mmmu",
    "lmms-lab-encoder/ScienceQA": "scienceqa", "Lin-Chen/MMStar": "mmstar",
}  # fmt: skip


def load_dataset(
    hub: str, subset: str | None = None, *, split: str, revision: str | None = None
) -> datasets.Dataset:
    """Replaces datasets.load_dataset. Raises KeyError for names that the hub does not have."""
    subsets = hub_tables()[hub]
    if subset is None and len(subsets) > 1:
        subset = "default"
    rows = subsets[subset or next(iter(subsets))][split]
    if hub in UTILITY_OF:
        features = datasets.Features(FEATURES[UTILITY_OF[hub]])
        return datasets.Dataset.from_dict({c: [r[c] for r in rows] for c in features}, features)
    table = datasets.Dataset.from_list([dict(row) for row in rows])
    return table.cast_column("image", datasets.Image()) if "image" in table.features else table


FOLDERS_OF = {"sinwang/SIUO": "siuo", "ys-zong/VLGuard": "vlguard"}
"""Datasets that are downloaded as plain files, and the names of their copies."""
