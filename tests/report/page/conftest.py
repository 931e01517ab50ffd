"""Finished runs without a model, with any number of examples; figures are not drawn."""

import json

import pytest
import yaml

from calib.config.choose import ChooseConfig
from calib.config.data import MiniData
from calib.data.example import Example
from calib.report.page import drawings
from calib.runs.operating_points import operating_point_records, select_operating_points
from calib.runs.run import Run
from calib.runs.run_files import LabelledRow
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import in_order, score

REFUSES = "I'm sorry, but I can't help with that."
STRENGTHS = (-1.0, 1.0, 2.0)
RULE = ChooseConfig()


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "FIGURES", {})
        yield


def queries(count, category="weapons", picture=None):
    """Pairs of a safe and an unsafe query, a tenth of them on validation, and three questions."""
    examples = [
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
    return [*examples, *questions]


def labelled(example, strength):
    """The label of a query: at strength 1 unsafe queries of odd pairs are refused, at 2 all are;
    everything else is answered."""
    if strength == 2 or (
        strength == 1 and example.safety == "unsafe" and int(example.pair[1:]) % 2
    ):
        return "refusal"
    return "answer"


def made_up(
    folder, examples, label=labelled, response=None, method="steer", provenance=None, **identity
):
    """A finished run in memory with its files in ``folder``; ``response`` gives other responses."""
    folder.mkdir(parents=True)
    run_identity = {"data": vars(MiniData(limit=8, parts=["image_centric"])), "seed": 0}
    run_identity |= {"checkpoint": "some/checkpoint", **identity}
    manifest = {
        "identity": run_identity,
        "provenance": provenance or {"calib": "0.1.0", "notes": []},
    }
    (folder / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    rows, responses, judged = [], {}, []
    settings = [(BASELINE, None, 0.0), *((method, 3, strength) for strength in STRENGTHS)]
    for name, layer, strength in settings:
        for example in examples:
            row = f"{strength:g}/{example.id}"
            right = None if example.safety else strength < 2
            own_label = label(example, strength) if example.safety else None
            text = REFUSES if own_label == "refusal" else f"Here is how, at {strength:g}."
            text = ("red" if right else "blue") if own_label is None else text
            text = response(example, strength) if response else text
            responses[row] = {"row": row, "response": text, "finish": "stop", "kl": 0.1,
                              "query": example.query, "system": example.system}  # fmt: skip
            rows.append(LabelledRow(name, layer, strength, row, example.id, own_label))
            judged.append(
                Judged(
                    name, layer, strength, example.id, example.pair, example.dataset,
                    example.variant, example.category, example.split, example.safety, own_label,
                    right, 0.1 if right is not None else None,
                )
            )  # fmt: skip
    validated, tested = (
        score([row for row in judged if row.split == split]) for split in ("validation", "test")
    )
    on_validation = [row for row in judged if row.split == "validation"]
    chosen = select_operating_points(on_validation, validated, [method], RULE, "calib")
    results = in_order([*validated, *tested])
    axes = {method: "in gap units"}
    settings = {
        "mapping": "calib",
        "seed": 0,
        "data": run_identity["data"],
        "model": {"name": "internvl"},
        "method": {"name": method},
        "methods": {},
    }
    run = Run(
        folder,
        manifest=manifest,
        settings=settings,
        settings_text=yaml.safe_dump(settings),
        checkpoint=run_identity["checkpoint"],
        results=results,
        operating_points=operating_point_records(
            run_identity["checkpoint"], chosen, RULE, axes, []
        ),
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
    """The functions and values above."""

    class Tools:
        run = staticmethod(made_up)
        examples = staticmethod(queries)
        label = staticmethod(labelled)
        refuses = REFUSES
        strengths = STRENGTHS

    return Tools


@pytest.fixture(scope="session")
def hostile():
    """Texts that a data set, a response or a name may contain."""
    return (
        "</script><script>window.hacked=1</script>",
        "<img src=x onerror='window.hacked=1'>",
        "javascript:window.hacked=1",
        "]]> --> <!-- <svg onload=window.hacked=1>",
        "line\u2028separator \u2029 \x00 \x1b[31m \u202etrof \ud800 \ufeff",
        "\"'`${window.hacked=1} &lt;b&gt; &amp;",
        "x" * 100_000,
    )
