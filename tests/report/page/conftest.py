"""Finished runs without a model, of any number of examples, and no figures to wait for."""

import json

import pytest
import yaml

from calib.config.data import MiniData
from calib.data.example import Example
from calib.report.page import drawings
from calib.runs.run_files import LabelledRow
from calib.runs.operating_points import operating_point_records, select_operating_point
from calib.runs.run import Run
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import in_order, score

REFUSES = "I'm sorry, but I can't help with that."
STRENGTHS = (-1.0, 1.0, 2.0)


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "FIGURES", {})
        yield


def queries(count, category="weapons", picture=None):
    """Half of them unsafe, in pairs, the first tenth on validation; and two questions."""
    found = [
        Example(
            id=f"q{k}", dataset="image_centric", variant="drawn", category=category,
            split="validation" if k < max(4, count // 10) else "test",
            query=f"Query number {k // 2}?", safety="unsafe" if k % 2 else "safe",
            pair=f"p{k // 2}", picture=picture,
        )
        for k in range(count)
    ]  # fmt: skip
    questions = [
        Example(f"u{k}", "utility", "colour", "", split, f"What colour is {k}?", answer="red")
        for k, split in enumerate(("validation", "test", "test"))
    ]
    return [*found, *questions]


def labelled(example, strength):
    """The label of each query: at 0 all are answered, at 1 unsafe ones of odd pairs are refused,
    at 2 everything is, at -1 nothing changes."""
    if strength == 2 or (
        strength == 1 and example.safety == "unsafe" and int(example.pair[1:]) % 2
    ):
        return "refusal"
    return "answer"


def made_up(
    folder, examples, label=labelled, said=None, method="steer", provenance=None, **identity
):
    """A finished run in memory whose tables lie in ``folder``; ``said`` gives responses."""
    folder.mkdir(parents=True)
    known = {"data": vars(MiniData(limit=8, parts=["image_centric"])), "seed": 0}
    known |= {"checkpoint": "some/checkpoint", **identity}
    made = {"identity": known, "provenance": provenance or {"calib": "0.1.0", "notes": []}}
    (folder / "run.json").write_text(json.dumps(made))
    rows, responses, judged = [], {}, []
    settings = [(BASELINE, None, 0.0), *((method, 3, one) for one in STRENGTHS)]
    for name, layer, strength in settings:
        for example in examples:
            row = f"{strength:g}/{example.id}"
            right = None if example.safety else strength < 2
            found = label(example, strength) if example.safety else None
            text = REFUSES if found == "refusal" else f"Here is how, at {strength:g}."
            text = ("red" if right else "blue") if found is None else text
            text = said(example, strength) if said else text
            responses[row] = {"row": row, "response": text, "finish": "stop", "kl": 0.1,
                              "query": example.query, "system": example.system}  # fmt: skip
            rows.append(LabelledRow(name, layer, strength, row, example.id, found))
            judged.append(
                Judged(name, layer, strength, example.id, example.pair, example.dataset, example.variant, example.category, example.split, example.safety, found, right, 0.1 if right is not None else None)
            )  # fmt: skip
    validated, tested = (
        score([one for one in judged if one.split == split]) for split in ("validation", "test")
    )
    chosen = {method: select_operating_point(validated, method)}
    results = in_order([*validated, *tested])
    axes = {method: "in gap units"}
    settings = {"mapping": "calib", "seed": 0, "data": known["data"], "model": {"name": "internvl"}}
    run = Run(
        folder,
        manifest=made,
        settings=settings,
        settings_text=yaml.safe_dump(settings),
        checkpoint=known["checkpoint"],
        results=results,
        operating_points=operating_point_records(known["checkpoint"], chosen, axes, []),
        directions={},
        projections={},
        examples={example.id: example for example in examples},
        pictured={example.id for example in examples if example.picture},
        rows=rows,
        responses=responses,
        judge="rules",
        judged=judged,
    )
    run.write()
    return run


@pytest.fixture
def run(tmp_path):
    return made_up(tmp_path / "run", queries(40))


@pytest.fixture(scope="session")
def made():
    """The tools above, for tests and for fixtures of other files."""

    class Tools:
        run = staticmethod(made_up)
        examples = staticmethod(queries)
        label = staticmethod(labelled)
        again = staticmethod(Run.replace)
        refuses = REFUSES
        strengths = STRENGTHS

    return Tools


@pytest.fixture(scope="session")
def hostile():
    """What may stand in a data set, a response or a name."""
    return (
        "</script><script>window.hacked=1</script>",
        "<img src=x onerror='window.hacked=1'>",
        "javascript:window.hacked=1",
        "]]> --> <!-- <svg onload=window.hacked=1>",
        "line\u2028separator \u2029 \x00 \x1b[31m \u202etrof \ud800 \ufeff",
        "\"'`${window.hacked=1} &lt;b&gt; &amp;",
        "x" * 100_000,
    )
