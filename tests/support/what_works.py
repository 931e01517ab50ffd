"""What works with what: measured on a tiny model of every family, by the commands a user gives.

    python tests/what_works.py

measures again and writes what_works.json, and from it the tables of docs/models.md. The tests
measure too, and fail where the page says something else.
"""

import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import conftest  # noqa: F401 - first, for the environment it sets
from composing import composed
from tiny_families import FAMILIES, examples, tiny

from calib import export, sweep
from calib.config.model import ModelConfig, RemoteModelConfig
from calib.config.schemas import CONF
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.engine.sharing import detect_sharing
from calib.models.load import VLM, load
from calib.models.prompts import read_prompt
from calib.util.errors import CalibError

RECORD = Path(__file__).parent / "what_works.json"
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
OPTIONS = {"llava": "llava_1_5", "smolvlm": "smolvlm2"}
"""Options in conf/model, where they are not called as the family is."""

STEERED = {
    "steer": ("positions=all",),
    "heads": ("site=heads",),
    "mlp": ("site=mlp",),
    "picture_tokens": ("positions=image",),
}
PROMPTED = ("reminder", "cot")
LAYER, STRENGTH, TOKENS = 2, 8.0, 4

COLUMNS = {
    "steer": "`steer`",
    "heads": "`site=heads`",
    "mlp": "`site=mlp`",
    "picture_tokens": "`positions=image`",
    "prompts": "prompt methods",
    "no_picture": "prompts without a picture",
    "shared": "rows share a prompt",
    "tower": "picture read once",
    "gguf": "`gguf`, `repeng`, `easysteer`",
    "lm_eval": "`lm_eval`",
    "baked": "`baked`",
}


def model_of(family: str, checkpoint: Path) -> list[str]:
    """The part of a command line that names a model."""
    option = OPTIONS.get(family, family)
    return [f"model={option}", f"model.checkpoint={checkpoint}", "model.dtype=float32"]


def saved(family: str, folder: Path) -> Path:
    """The tiny model of a family as a checkpoint on disk."""
    tiny(family).model.save_pretrained(folder)
    tiny(family).processor.save_pretrained(folder)
    return folder


def swept(family: str, checkpoint: Path, out: Path) -> None:
    """Run a small sweep of every kind of edit and prompt in one record."""
    settings = [
        f"methods.{name}.{setting}"
        for name, own in STEERED.items()
        for setting in (
            f"name={name}", "file=steer", f"layers=[{LAYER}]", f"strengths=[0,{STRENGTH}]", *own
        )
    ]  # fmt: skip
    added = [f"+method@methods.{name}=steer" for name in STEERED]
    added += [f"+method@methods.{name}={name}" for name in PROMPTED]
    sweep.main(
        composed(
            "sweep", *model_of(family, checkpoint), "method=none", "method@reference=none", *added,
            *settings,
            "judge=string", "data.limit=4", "data.parts=[image_centric,text_centric]",
            "utility.limit=2",
            f"generation.max_new_tokens={TOKENS}", f"out={out}",
        )
    )  # fmt: skip


def cells(out: Path) -> dict[tuple[str, float], dict[str, dict]]:
    """A run's rows by method and strength, and example."""
    rows = {row["row"]: row for row in map(json.loads, (out / "rows.jsonl").open())}
    found: dict[tuple[str, float], dict[str, dict]] = defaultdict(dict)
    for one in map(json.loads, (out / "labels.jsonl").open()):
        found[one["method"], one["strength"]][one["example"]] = rows[one["row"]]
    return found


def said(rows: dict[str, dict]) -> dict[str, str]:
    return {example: row["response"] for example, row in rows.items()}


def steers(found: dict, name: str) -> bool:
    """Strength 0 is the uncalibrated model, and another strength reaches every example."""
    plain, same, other = found["none", 0.0], found[name, 0.0], found[name, STRENGTH]
    costs = [row["kl"] for row in other.values() if row["kl"] is not None]
    reached = bool(costs) and min(costs) > 1e-4
    return said(same) == said(plain) and plain.keys() == other.keys() and reached


def prompts(found: dict, name: str) -> bool:
    plain, other = found["none", 0.0], found[name, 1.0]
    told = all(row["row"] != plain[example]["row"] for example, row in other.items())
    return plain.keys() == other.keys() and told and said(plain) != said(other)


def without_picture(vlm: VLM) -> str:
    example = next(one for one in examples() if one.picture is None)
    try:
        return yes(generate(vlm, [Request(example)], Decoding(max_new_tokens=1)))
    except CalibError:
        return "no"


def shares(vlm: VLM) -> str:
    found = detect_sharing(vlm, read_prompt(vlm, examples()[0]))
    if found.reason:
        return "no"
    return "yes" if found.first_fork == 0 else f"from layer {found.first_fork}'s output"


def exports(family: str, checkpoint: Path, run: Path, form: str) -> str:
    (direction,) = run.glob("directions/*-residual.safetensors")
    ending = {"gguf": ".gguf", "lm_eval": ".pt"}.get(form, "")
    try:
        export.main(
            composed(
                "export", f"direction={direction}", f"format={form}", f"layers=[{LAYER}]",
                f"out={run / form}{ending}", *model_of(family, checkpoint),
            )
        )  # fmt: skip
    except CalibError:
        return "no"
    return "yes"


def yes(holds: object) -> str:
    return "yes" if holds else "no"


def measured(family: str, folder: Path) -> dict[str, str]:
    """What works with a family: each column's "yes", "no", or under which condition."""
    checkpoint, run = saved(family, folder / "model"), folder / "run"
    swept(family, checkpoint, run)
    found = cells(run)
    vlm = load(composed("sweep", *model_of(family, checkpoint)).model)
    row = {name: yes(steers(found, name)) for name in STEERED}
    if read_prompt(vlm, examples()[0]).image.sum() == 1:
        row["picture_tokens"] = "placeholder only"
    row["prompts"] = yes(all(prompts(found, name) for name in PROMPTED))
    row["no_picture"] = without_picture(vlm)
    row["shared"] = shares(vlm)
    row["tower"] = yes(vlm.feature_cache.passes)
    for form in ("gguf", "lm_eval", "baked"):
        row[form] = exports(family, checkpoint, run, form)
    return row


# --- the tables


def works(record: dict[str, dict[str, str]]) -> str:
    """The table of families, in Markdown."""
    lines = ["| " + " | ".join(["family", *COLUMNS.values()]) + " |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 1))
    for family in FAMILIES:
        row = record[family]
        lines.append("| " + " | ".join([f"`{family}`", *(row[key] for key in COLUMNS)]) + " |")
    return "\n".join(lines)


def options() -> str:
    """The table of the options in conf/model that have weights, in Markdown."""
    lines = ["| `model=` | checkpoint | what it is |", "|---|---|---|"]
    for path in sorted((CONF / "model").glob("*.yaml")):
        config = composed("sweep", f"model={path.stem}").model
        if isinstance(config, RemoteModelConfig):
            continue
        assert isinstance(config, ModelConfig)
        comment = re.split(r"\n#\n", path.read_text())[0].replace("\n# ", " ").removeprefix("# ")
        checkpoint = f"`{config.checkpoint}`" if config.checkpoint else "comes with calib"
        lines.append(f"| `{path.stem}` | {checkpoint} | {comment} |")
    return "\n".join(lines)


def page(text: str, record: dict[str, dict[str, str]]) -> str:
    """The page with its tables as they are to be."""
    for name, table in (("works", works(record)), ("options", options())):
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        assert found and closed, f"{PAGE} has no place for the table of {name}"
        text = f"{before}{start}{table}\n{end}{after}"
    return text


def main() -> None:
    record = {}
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            record[family] = measured(family, Path(folder))
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), record))


if __name__ == "__main__":
    main()
