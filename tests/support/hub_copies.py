"""Copies of the benchmarks and question sets on the hub: its ids, subsets, splits and columns, with
content of our own.

    load_dataset("Paul/XSTest", split="train")  # in place of datasets.load_dataset
"""

import datasets
import yaml
from benchmark_copies import Rows, behaviours, colour, mm_question, mossbench, or_bench, xstest
from utility_tables import FEATURES, MME, MMMU, MMSTAR, POPE, SCIENCEQA, png

from calib.config.schemas import CONF
from calib.data.published.mm_safetybench import SPLITS, SUBSETS


def _shown(rows: Rows, column: str = "image") -> Rows:
    return [{**row, column: {"bytes": png(colour(k)), "path": None}} for k, row in enumerate(rows)]


def _mm_tables() -> dict[str, dict[str, Rows]]:
    words = {"SD": "Rephrased Question(SD)", "Text_only": "Changed Question"}
    tables: dict[str, Rows] = {}
    for split in SPLITS.values():
        asked = words.get(split, "Rephrased Question")
        rows = [{"id": str(k), "question": mm_question(k)[asked]} for k in range(3)]
        tables[split] = _shown(rows) if split != "Text_only" else rows
    return dict.fromkeys(SUBSETS, tables)


def _pope() -> dict[str, dict[str, Rows]]:
    full = {split: POPE for split in ("adversarial", "popular", "random")}
    return {"default": {"test": POPE}, "Full": full}


def _mmmu() -> dict[str, dict[str, Rows]]:
    subjects = yaml.safe_load((CONF / "utility" / "mmmu.yaml").read_text())["subsets"]
    rows = [row for part in MMMU.values() for row in part]
    named = lambda subject: [{**r, "id": f"validation_{subject}_{k}"} for k, r in enumerate(rows)]  # noqa: E731
    return {subject: {"validation": named(subject)} for subject in subjects}


def hub_tables() -> dict[str, dict[str, dict[str, Rows]]]:
    """What the hub has: rows by dataset, subset and split."""
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
            "oversensitivity": {"train": _shown(list(mossbench("as it is").values()))}
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
    """In place of datasets.load_dataset; what the hub does not have is a KeyError."""
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
"""Datasets whose plain files are fetched."""
