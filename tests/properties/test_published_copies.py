"""Any copy of a published benchmark ends in examples or in a CalibError."""

import json
import shutil
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import json_values, texts
from vscbench_workbooks import IMAGE, TEXT, image_row, text_row, write

from calib.config.data import PublishedData, VscbenchData
from calib.data import published, vscbench
from calib.data.dualbench.twins import CATEGORIES, read_translations, read_twins
from calib.data.vscbench_tables import IMAGE_COLUMNS, TEXT_COLUMNS
from calib.util.errors import CalibError

CELLS = st.one_of(
    st.sampled_from(["", "1", "contrast_homonyms", "homonyms", "safe", "unsafe", True, False, "."]),
    texts,
    json_values,
)
FILES = {
    "figstep": ["safebench.csv", "SafeBench-Tiny.csv"],
    "jailbreakbench": ["benign-behaviors.csv", "harmful-behaviors.csv"],
    "mm_safetybench": ["processed_questions/01-Illegal_Activitiy.json"],
    "mossbench": [
        "data/images_information/information.json",
        "data_contrast/images_information/information.json",
    ],
    "or_bench": ["or-bench-hard-1k.csv", "or-bench-toxic.csv"],
    "siuo": ["siuo_gen.json"],
    "vlguard": ["train.json", "test.json"],
    "xstest": ["xstest_prompts.csv"],
}
"""The tables of each benchmark."""
COLUMNS = {
    "figstep": "dataset category_id task_id category_name question instruction",
    "jailbreakbench": "Index Goal Category",
    "mm_safetybench": "id question image",
    "mossbench": "pid question image metadata",
    "or_bench": "prompt category",
    "siuo": "question_id image question category",
    "vlguard": "id image safe instr-resp",
    "xstest": "prompt type focus label",
}
SUBSETS = {"mm_safetybench": ["Illegal_Activitiy"], "or_bench": ["or-bench-hard-1k"]}


def test_every_benchmark_is_among_these():
    assert set(FILES) == set(COLUMNS) == set(published.names())


@given(st.sampled_from(sorted(FILES)), st.data())
@share(2)
def test_any_copy_is_read_or_refused(tmp_path, name, data):
    root = tmp_path / "copy"
    shutil.rmtree(root, ignore_errors=True)
    columns = COLUMNS[name].split()
    for file in FILES[name]:
        rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(columns, CELLS)), max_size=4))
        table = Path(file).with_suffix(".json")
        (root / table).parent.mkdir(parents=True, exist_ok=True)
        (root / table).write_text(json.dumps(rows), encoding="utf-8")
        if file.endswith(".csv"):
            _as_csv(root / table, root / file, columns, rows)
    (root / "images").mkdir(exist_ok=True)
    try:
        published.load(PublishedData(name=name, root=str(root), subsets=SUBSETS.get(name, [])))
    except CalibError as error:
        assert str(error)


def _as_csv(table, path, columns, rows):
    import csv

    table.unlink()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


@given(st.data())
@share(0.5)
def test_any_workbook_is_read_or_refused(tmp_path, data):
    cells = st.one_of(st.none(), st.integers(), st.text("ab =+'.:\\/é", max_size=8))
    for file, columns, usual in (
        (TEXT, TEXT_COLUMNS, text_row(0, "homonyms", "peel", "an egg")),
        (IMAGE, IMAGE_COLUMNS, image_row(0)),
    ):
        changes = data.draw(
            st.lists(st.dictionaries(st.sampled_from(columns), cells, max_size=3), max_size=4)
        )
        kept = data.draw(st.lists(st.sampled_from(columns), max_size=1))
        header = [column for column in columns if column not in kept[:1]]
        write(tmp_path / file, header, [{**usual, **change} for change in changes])
    try:
        vscbench.load(VscbenchData(root=str(tmp_path), skip_broken=True))
    except CalibError as error:
        assert str(error)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_any_table_of_twins_is_read_or_refused(tmp_path, rows):
    path = tmp_path / "twins.json"
    codes = [category.code for category in CATEGORIES]
    twins = [
        {"category": codes[k], "harmful": harmful, "benign": benign, "id": key}
        for k, (harmful, benign, key) in enumerate(rows)
    ]
    path.write_text(json.dumps(twins), encoding="utf-8")
    for read in (read_twins, read_translations):
        try:
            read(path)
        except CalibError as error:
            assert str(error)
