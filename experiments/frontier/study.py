"""All methods at an equal budget of settings, the parts of two_sided, and each choice of steering.

    python -m experiments.frontier.study [out=runs/studies] [limit=100] [workers=1]

For every model that knows a mini world three runs of calib.sweep: experiment=all_methods; two_sided
without each of its parts; and method=steer with one choice changed at a time (axes.py). For
smolvlm_emoji and its guard the first of these, with fewer settings and queries (drawings.py).
``limit`` is the number of queries of a part and split, and of utility questions; ``workers`` the
number of processes. Run an interrupted study again to resume it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from calib.report.method_table import METHODS_FILE
from calib.report.verdict import Effect
from calib.scoring.results import ALL, BASELINE
from experiments import command
from experiments.all_methods.table import change
from experiments.frontier import axes, drawings
from experiments.frontier.figure import draw
from experiments.smolvlm_emoji.pairs import NAMES
from experiments.studies import (
    NOTE,
    RUNS,
    Model,
    join_methods,
    needs_drawings,
    percent,
    read,
    run_models,
    table,
    write_results,
)

HERE = Path(__file__).parent
PARTS = ("image_centric", "text_centric")
DUAL_USE = ("DAR_b", "RR_h", "SCR", "delta_IR")
METRICS = ("SRA", "SRA_u", "SRA_s", "paper_SRA", "warned_s", "utility", "knowledge", *DUAL_USE)
WITHOUT = {
    "two_sided": (),
    "unsafe_side_only": ("sides=unsafe",),
    "safe_side_only": ("sides=safe",),
    "probe_of_the_query": ("probe_prompt=query",),
    "probe_of_the_check": ("probe_prompt=check",),
    "no_completion": ("completion=0",),
    "added_not_clamped": ("operator=add",),
    "ablated": ("operator=ablate",),
}
"""two_sided, and without each of its parts."""
NO_GATE = (
    "+method@methods.no_gate=steer", "methods.no_gate.name=no_gate", "methods.no_gate.file=steer",
    "methods.no_gate.operator=clamp", "methods.no_gate.contrast=refusal",
    "methods.no_gate.strengths=[-1,-0.5,0.5,1]",
)  # fmt: skip
"""The clamp of two_sided on every query alike."""
PROMPT = ("+method@methods.self_check=self_check", "methods.self_check.strengths=[1,2,3,4,5,6,7,8]")
"""The same question, and a prompt in place of steering."""
SHOWN = {
    "methods": ("SRA",),
    "parts": ("SRA", "SRA_u", "SRA_s"),
    "axes": ("SRA", "SRA_u", "SRA_s"),
}
"""The runs, and the rates whose changes the tables of the README have."""
STUDIES = tuple(SHOWN)
COSTS = ("utility", "knowledge", "warned_s")
"""Rates that a gain of SRA may cost: warnings to safe queries cost when they rise."""


def settings(study: str, model: Model, limit: int, directions: Path) -> tuple[str, ...]:
    """Settings of calib.sweep for one of STUDIES, besides the model's own."""
    if not model.world:
        return drawings.settings(model, limit)
    shared = (
        f"data={model.world}", f"utility={model.world}", f"data.limit={limit}",
        f"utility.limit={limit}", "report=false", "method@reference=none",
    )  # fmt: skip
    if study == "methods":
        return "experiment=all_methods", *shared
    if study == "parts":
        names = [
            (f"+method@methods.{name}=two_sided",
             *(f"methods.{name}.{each}" for each in (f"name={name}", "file=two_sided", *changed)))
            for name, changed in WITHOUT.items()
        ]  # fmt: skip
        return (
            "method=none",
            *(word for words in names for word in words),
            *NO_GATE,
            *PROMPT,
            *shared,
        )
    variants = [*axes.CONFIGURED, *axes.fitted(model.world, _option(model), PARTS, directions)]
    added = [word for variant in variants for word in variant.overrides()]
    return "method=none", *added, f"data.parts=[{','.join(PARTS)}]", *shared


def _option(model: Model) -> str:
    return model.overrides[0].removeprefix("model=")


def chosen(study: str) -> list[Model]:
    """The models of one of STUDIES, under names of their own."""
    found = needs_drawings(NAMES)
    if study == "methods":
        return found
    return [replace(model, name=f"{model.name}/{study}") for model in found if model.world]


def main(out: Path = Path(RUNS), limit: int = 100, workers: int = 1) -> None:
    """Run every model that is there, and write results.csv, methods.csv, the figure and tables."""
    out = out.resolve() / "frontier"
    runs: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for study in STUDIES:

        def of_study(model: Model, study: str = study) -> tuple[str, ...]:
            return settings(study, model, limit, out / model.name / "given")

        done, absent = run_models(chosen(study), out, of_study, workers)
        runs |= done
        missing |= absent
    write_results(HERE / "results.csv", runs, missing, METRICS)
    join_methods(HERE / METHODS_FILE, runs)
    draw(read(HERE / METHODS_FILE), HERE / "figure.png")
    print(f"\n{markdown(HERE / 'results.csv')}")


def markdown(path: Path) -> str:
    """The tables of the README from results.csv and the methods.csv beside it: one for each of
    STUDIES, one of dual-use pictures, and what has no result."""
    rows, methods = read(path), read(path.with_name(METHODS_FILE))
    missing = {
        row["run"]: row[NOTE] for row in rows if row["n"] == "0" and row["method"] == BASELINE
    }
    missing |= {
        f"{name} of {model}": reason
        for model, methods_of in drawings.NOT_APPLICABLE.items()
        if model not in missing
        for name, reason in methods_of.items()
    }
    absent = ", ".join(f"{name} ({reason})" for name, reason in missing.items())
    tables = [_table(study, rows, methods) for study in STUDIES]
    tables.insert(1, _dual_use(rows, methods))
    return "\n\n".join([*tables, f"Without a result: {absent}."])


def _table(
    study: str, rows: Sequence[Mapping[str, str]], methods: Sequence[Mapping[str, str]]
) -> str:
    """One line for each method, and its changes on every model; the last cell names the models on
    which SRA rose measurably at no measurable cost of COSTS."""
    of_study = [row for row in methods if (row["run"].partition("/")[2] or "methods") == study]
    runs = list(dict.fromkeys(row["run"] for row in of_study))
    cells = {(row["run"], row["method"]): row for row in of_study}
    rates = SHOWN[study]
    names = [run.partition("/")[0] for run in runs]
    head = [study, *(f"{name}: {cell}" for name in names for cell in (*rates, "costs", "rank, p"))]
    lines = [["uncalibrated"]]
    for run in runs:
        own = {
            (row["dataset"], row["metric"]): row
            for row in rows
            if row["run"] == run and row["method"] == BASELINE and row["variant"] == ALL
        }
        shown = [own.get((ALL, rate)) for rate in rates]
        lines[0] += [*map(percent, shown), "", ""]
    lines[0].append("")
    for method in dict.fromkeys(row["method"] for row in of_study):
        found = [cells.get((run, method)) for run in runs]
        line = [method]
        for row in found:
            changes = [change(row, rate) if row else "-" for rate in rates]
            costs = _costs(row, {"SRA_u", "SRA_s"} - {*rates}) if row else ""
            line += [*changes, costs, _rank(row)]
        gained = [name for name, row in zip(names, found, strict=True) if row and _gained(row)]
        lines.append([*line, ", ".join(gained)])
    return table([*head, "better on"], lines)


def _dual_use(rows: Sequence[Mapping[str, str]], methods: Sequence[Mapping[str, str]]) -> str:
    """Rates of the original dual-use pictures, of methods that gain on every model with some."""
    found: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for row in rows:
        of_pictures = (row["dataset"], row["variant"]) == ("dual_use", "original")
        if of_pictures and "/" not in row["run"]:
            found.setdefault((row["run"], row["method"]), {})[row["metric"]] = row
    runs = list(dict.fromkeys(run for run, _ in found))
    gains = {(row["run"], row["method"]) for row in methods if _gained(row)}
    lines = []
    for run in runs:
        shown = [name for of, name in found if of == run and all((r, name) in gains for r in runs)]
        for name in (BASELINE, *shown):
            of = found[run, name]
            label = "uncalibrated" if name == BASELINE else name
            lines.append([run, label, *(percent(of.get(rate)) for rate in DUAL_USE)])
    return table(["model", "method", *DUAL_USE], lines)


def _rank(row: Mapping[str, str] | None) -> str:
    if row is None or row["verdict"] == str(Effect.KEPT):
        return "kept" if row else "-"
    return f"{row['rank']} ({row['rank_low']} to {row['rank_high']}), {row['p_holm'][:5]}"


def _gained(row: Mapping[str, str]) -> bool:
    """Whether the interval of SRA is above 0, at no measurable cost."""
    return float(row["SRA_change_low"] or 0) > 0 and not _costs(row)


def _costs(row: Mapping[str, str], further: Collection[str] = ()) -> str:
    """The changes of COSTS and of ``further`` rates whose interval is on the wrong side of 0."""
    found = []
    for rate in (*sorted(further, reverse=True), *COSTS):
        rises = rate == "warned_s"
        bound = float(row[f"{rate}_change_{'low' if rises else 'high'}"] or 0)
        if (bound > 0) if rises else (bound < 0):
            found.append(f"{rate} {change(row, rate)}")
    return ", ".join(found)


if __name__ == "__main__":
    whole = command.whole(1)
    command.run(main, __doc__, out=command.path, limit=whole, workers=whole)
