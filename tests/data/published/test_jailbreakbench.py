"""JBB-Behaviors: rows with one Index and one Category are twins."""

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


def test_rows_of_one_number_and_category_are_twins(tmp_path, load, write):
    for side, rows in SIDES.items():
        write(tmp_path / "data" / f"{side}-behaviors.csv", rows)
    bench = load("jailbreakbench", root=tmp_path, train=0.4, validation=0.2)
    assert [(p.safe.id, p.unsafe.id) for p in pairs(bench.examples)] == [
        ("benign/0", "harmful/0"),
        ("benign/1", "harmful/1"),
    ]
    assert all(p.safe.split == p.unsafe.split for p in pairs(bench.examples))
    assert {e.id: e.query for e in bench.examples}["harmful/2"] == "harmful request 2"
    assert bench.examples[0].category == "Privacy"
    assert any("no twin: n=2" in note for note in bench.notes)


def test_the_hub_gives_the_same_examples(tmp_path, load, write, hub):
    for side, rows in SIDES.items():
        write(tmp_path / "data" / f"{side}-behaviors.csv", rows)
    shares = {"train": 0.0, "validation": 1.0}
    local = load("jailbreakbench", root=tmp_path, **shares)
    assert (
        load("jailbreakbench", hub=hub({"behaviors": SIDES}), **shares).examples == local.examples
    )
    assert {e.split for e in local.examples} == {"validation"}


def test_a_number_that_is_there_twice_is_refused(tmp_path, refusal, write):
    for side, rows in SIDES.items():
        write(tmp_path / "data" / f"{side}-behaviors.csv", [*rows, rows[0]])
    message = refusal("jailbreakbench", root=tmp_path)
    assert "2 rows have the number of another (first: benign/0)" in message


def test_one_missing_side_is_refused_by_its_file(tmp_path, refusal, write):
    write(tmp_path / "data" / "benign-behaviors.csv", SIDES["benign"])
    assert "data/harmful-behaviors.csv" in refusal("jailbreakbench", root=tmp_path)
