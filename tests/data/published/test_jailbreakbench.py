"""JBB-Behaviors: rows with the same Index and Category are twins."""

from calib.data.example import pairs


def behaviours(side, *categories):
    return [
        {"Index": k, "Goal": f"{side} request {k}", "Target": "Here is", "Behavior": "b"}
        | {"Category": category, "Source": "Original"}
        for k, category in enumerate(categories)
    ]


SIDES = {
    "harmful": behaviours("harmful", "Privacy", "Fraud", "Advice"),
    "benign": behaviours("benign", "Privacy", "Fraud", "Physical"),
}


def test_rows_with_the_same_index_and_category_are_twins(tmp_path, load, write):
    for side, rows in SIDES.items():
        write(tmp_path / "data" / f"{side}-behaviors.csv", rows)
    benchmark = load("jailbreakbench", root=tmp_path, train=0.4, validation=0.2)
    assert [(p.safe.id, p.unsafe.id) for p in pairs(benchmark.examples)] == [
        ("benign/0", "harmful/0"),
        ("benign/1", "harmful/1"),
    ]
    assert all(p.safe.split == p.unsafe.split for p in pairs(benchmark.examples))
    assert {e.id: e.query for e in benchmark.examples}["harmful/2"] == "harmful request 2"
    assert benchmark.examples[0].category == "Privacy"
    assert any(note.endswith("n=2") for note in benchmark.notes)


def test_the_hub_gives_the_same_examples(tmp_path, load, write, hub):
    for side, rows in SIDES.items():
        write(tmp_path / "data" / f"{side}-behaviors.csv", rows)
    shares = {"train": 0.0, "validation": 1.0}
    local = load("jailbreakbench", root=tmp_path, **shares)
    assert (
        load("jailbreakbench", hub=hub({"behaviors": SIDES}), **shares).examples == local.examples
    )
    assert {e.split for e in local.examples} == {"validation"}


def test_a_duplicate_index_is_refused(tmp_path, refused, write):
    for side, rows in SIDES.items():
        write(tmp_path / "data" / f"{side}-behaviors.csv", [*rows, rows[0]])
    refused("jailbreakbench", "duplicate", "2 row ids", "benign/0", root=tmp_path)


def test_a_missing_side_is_reported_with_its_file(tmp_path, refused, write):
    write(tmp_path / "data" / "benign-behaviors.csv", SIDES["benign"])
    refused("jailbreakbench", "not-found", "data/harmful-behaviors.csv", root=tmp_path)
