"""What a finished run shows: which tables, which figure, which summary."""

from dataclasses import replace

import pytest

from calib.report import outcome as module
from calib.report.figures.io import NotDrawn
from calib.report.outcome import show
from calib.runs.operating_points import operating_point_records, select_operating_point
from calib.runs.run import Run
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import score


@pytest.fixture
def drawn(monkeypatch):
    """Which figures were drawn, of which run; they have tests of their own."""
    kept = []

    def draw(name):
        return lambda runs, columns: kept.append((name, runs[0].folder.name)) or "figure"

    monkeypatch.setattr(module.trade_off, "draw", draw("trade_off"))
    monkeypatch.setattr(module.methods, "draw", draw("methods"))
    monkeypatch.setattr(module, "save", lambda figure, stem: [stem.with_suffix(".png")])
    return kept


def run(folder, methods, dataset="text_centric", better=True, data="pairs", mapping="calib",
        reference=None):  # fmt: skip
    row = Judged(BASELINE, None, 0.0, "", None, dataset, "original", "c", "", "unsafe", None, None, None)  # fmt: skip
    judged = [
        replace(
            row, example_id=f"{safety}/{split}/{k}", pair=str(k), split=split, safety=safety,
            method=method, strength=float(method != BASELINE),
            label="refusal" if safety == "unsafe" and (method != BASELINE) == better else "answer",
        )
        for method in (BASELINE, *methods)
        for split in ("validation", "test")
        for safety in ("unsafe", "safe")
        for k in range(4)
    ]  # fmt: skip
    results = score(judged, mapping)
    chosen = {name: select_operating_point(results, name) for name in methods or [BASELINE]}
    axes = dict.fromkeys(methods, "in units")
    return Run(
        folder, settings={"data": {"name": data}, "mapping": mapping}, checkpoint="some/model",
        results=results, directions={}, projections={}, judged=judged,
        operating_points=operating_point_records("some/model", chosen, axes, [], reference),
    )  # fmt: skip


def test_one_method_has_the_trade_off_and_the_summary(tmp_path, drawn) -> None:
    text = show(run(tmp_path / "run", ["reminder"]), {"results": tmp_path / "results.csv"})
    assert drawn == [("trade_off", "run")]
    assert "reminder (strength 1), chosen on validation" in text and "Strength    in units" in text
    assert "figure   " in text and "trade_off.png" in text and "results  " in text
    assert text.index("variant original") < text.index("Checkpoint")
    blocks = [line for line in text.splitlines() if line.endswith("SRA*        n")]
    assert [line.split("  ")[0] for line in blocks] == [
        "The uncalibrated model",
        "reminder (strength 1)",
    ]


def test_several_methods_are_compared(tmp_path, drawn) -> None:
    text = show(run(tmp_path, ["reminder", "caution"]), {})
    assert drawn[0][0] == "methods" and "Methods at their operating points" in text
    assert "p (Holm)" in text and text.count("variant original") == 3


def test_a_reference_beside_one_method_leaves_the_picture_of_that_method(tmp_path, drawn) -> None:
    text = show(run(tmp_path, ["surgical", "caution"], reference="caution"), {})
    assert drawn[0][0] == "trade_off" and "surgical (strength 1), chosen on validation" in text


def test_a_run_that_cannot_be_drawn_says_why_and_shows_the_rest(
    tmp_path, drawn, monkeypatch
) -> None:
    def refuse(runs, columns):
        raise NotDrawn("it has no SRA")

    monkeypatch.setattr(module.trade_off, "draw", refuse)
    text = show(run(tmp_path, ["reminder"]), {})
    assert "No figure: it has no SRA" in text and "figure  " not in text
    assert "reminder (strength 1), chosen on validation" in text


def test_the_figure_is_of_the_run_in_memory(tmp_path, monkeypatch) -> None:
    saved = []
    monkeypatch.setattr(module, "save", lambda figure, stem: saved.append(figure) or [stem])
    text = show(run(tmp_path, ["reminder"]), {"results": tmp_path / "results.csv"})
    assert ["figure", str(tmp_path / "trade_off")] in [line.split() for line in text.splitlines()]
    assert saved[0].get_figwidth() == 6.9 and "reminder" in saved[0].get_suptitle()
    assert not list(tmp_path.iterdir())


def test_the_uncalibrated_model_alone_is_shown_once(tmp_path, drawn) -> None:
    text = show(run(tmp_path, []), {})
    assert drawn[0][0] == "trade_off" and text.count("variant original") == 1


def test_a_method_that_was_not_chosen_is_still_shown_where_it_has_no_grid(tmp_path, drawn) -> None:
    text = show(run(tmp_path, ["reminder"], better=False), {})
    assert "the uncalibrated model was kept" in " ".join(text.split())
    assert text.count("variant original") == 2


def test_slices_are_left_away_where_the_summary_has_them(tmp_path, drawn) -> None:
    assert "variant" not in show(run(tmp_path, ["reminder"], data="mini"), {})


@pytest.mark.parametrize("methods", [["reminder"], ["reminder", "caution"]])
def test_dual_use_alone_has_its_own_table(tmp_path, drawn, methods) -> None:
    text = show(run(tmp_path, methods, "dual_use"), {})
    assert text.count("original pictures (n = 8)") == 1 + len(methods)
    assert "variant" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_the_mapping_reaches_every_table(tmp_path, drawn) -> None:
    text = show(run(tmp_path, ["reminder"], mapping="paper"), {})
    assert "mapping=paper" in text and "SRA*" not in text
