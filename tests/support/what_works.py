"""Features that each model family supports, measured on tiny models with the user's commands.

    python tests/support/what_works.py

writes what_works.json and the tables of docs/models.md. The tests measure again, and fail if the
page differs.
"""

import functools
import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path

from composing import composed, option
from tiny_families import FAMILIES, examples, tiny

from calib import export, sweep
from calib.config.model import MINI, PACKAGED, ModelChoice, ModelConfig, RemoteModelConfig
from calib.config.schemas import CONF
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.engine.sharing import detect_sharing
from calib.models.checkpoints.build_commands import BUILDS
from calib.models.load import VLM, load
from calib.models.prompts import read_prompt
from calib.util.errors import CalibError

RECORD = Path(__file__).parent / "what_works.json"
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
OPTIONS = {
    "llava": "llava_1_5",
    "smolvlm": "smolvlm2",
    **dict.fromkeys(("qwen3_5", "lfm2_vl", "qwen3_vl_moe", "aya_vision", "glm4v"), "internvl"),
}
"""Options in conf/model whose names differ from the family's; internvl where there is none."""

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
    "no_picture": "prompts without an image",
    "shared": "rows share prefill",
    "tower": "images encoded once",
    "gguf": "`gguf`, `repeng`, `easysteer`",
    "lm_eval": "`lm_eval`",
    "baked": "`baked`",
}


def model_of(family: str, checkpoint: Path) -> list[str]:
    """Overrides that select the model."""
    option = OPTIONS.get(family, family)
    return [f"model={option}", f"model.checkpoint={checkpoint}", "model.dtype=float32"]


def saved(family: str, folder: Path) -> Path:
    """Save the tiny model of a family as a checkpoint."""
    tiny(family).model.save_pretrained(folder)
    tiny(family).processor.save_pretrained(folder)
    return folder


def swept(family: str, checkpoint: Path, out: Path) -> None:
    """Run a small sweep with every kind of edit and of prompt method."""
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
            "utility=mini", "utility.limit=2",
            f"generation.max_new_tokens={TOKENS}", f"out={out}",
        )
    )  # fmt: skip


def cells(out: Path) -> dict[tuple[str, float], dict[str, dict]]:
    """Rows of a run by method and strength, then by example."""
    rows = {row["row"]: row for row in map(json.loads, (out / "rows.jsonl").open(encoding="utf-8"))}
    by_setting: dict[tuple[str, float], dict[str, dict]] = defaultdict(dict)
    for label in map(json.loads, (out / "labels.jsonl").open(encoding="utf-8")):
        setting = label["method"], label["strength"]
        by_setting[setting][label["example"]] = rows[label["row"]]
    return by_setting


def responses(rows: dict[str, dict]) -> dict[str, str]:
    return {example: row["response"] for example, row in rows.items()}


def steers(rows: dict, name: str) -> bool:
    """Whether strength 0 equals the uncalibrated model, and STRENGTH affects every example."""
    plain, zero, steered = rows["none", 0.0], rows[name, 0.0], rows[name, STRENGTH]
    kls = [row["kl"] for row in steered.values() if row["kl"] is not None]
    affected = bool(kls) and min(kls) > 1e-6  # rounding: below 1e-9
    return responses(zero) == responses(plain) and plain.keys() == steered.keys() and affected


def prompts(rows: dict, name: str) -> bool:
    """Whether a prompt method answers every example, in rows of its own."""
    plain, prompted = rows["none", 0.0], rows[name, 1.0]
    own_rows = all(row["row"] != plain[example]["row"] for example, row in prompted.items())
    changed = responses(plain) != responses(prompted)
    return plain.keys() == prompted.keys() and own_rows and changed


def without_picture(vlm: VLM) -> str:
    example = next(example for example in examples() if example.picture is None)
    try:
        return yes(generate(vlm, [Request(example)], Decoding(max_new_tokens=1)))
    except CalibError:
        return "no"


def shares(vlm: VLM) -> str:
    sharing = detect_sharing(vlm, read_prompt(vlm, examples()[0]))
    if sharing.reason:
        return "no"
    return "yes" if sharing.first_fork == 0 else f"from layer {sharing.first_fork}'s output"


def exports(family: str, checkpoint: Path, run: Path, format_name: str) -> str:
    (direction,) = run.glob("directions/*-residual.safetensors")
    ending = {"gguf": ".gguf", "lm_eval": ".pt"}.get(format_name, "")
    try:
        export.main(
            composed(
                "export", f"direction={direction}", f"format={format_name}", f"layers=[{LAYER}]",
                f"out={run / format_name}{ending}", *model_of(family, checkpoint),
            )
        )  # fmt: skip
    except CalibError:
        return "no"
    return "yes"


def yes(holds: object) -> str:
    return "yes" if holds else "no"


def measured(family: str, folder: Path) -> dict[str, str]:
    """Support of a family by column: "yes", "no" or a condition."""
    checkpoint, run = saved(family, folder / "model"), folder / "run"
    swept(family, checkpoint, run)
    rows = cells(run)
    vlm = load(composed("sweep", *model_of(family, checkpoint)).model)
    row = {name: yes(steers(rows, name)) for name in STEERED}
    if read_prompt(vlm, examples()[0]).image_mask.sum() == 1:
        row["picture_tokens"] = "placeholder only"
    row["prompts"] = yes(all(prompts(rows, name) for name in PROMPTED))
    row["no_picture"] = without_picture(vlm)
    row["shared"] = shares(vlm)
    row["tower"] = yes(vlm.feature_cache.passes)
    for format_name in ("gguf", "lm_eval", "baked"):
        row[format_name] = exports(family, checkpoint, run, format_name)
    return row


# --- tables


@functools.cache
def model_options() -> dict[Path, ModelChoice]:
    """The configuration of every option of conf/model, by its file."""
    paths = sorted((CONF / "model").glob("*.yaml"))
    return {path: composed("sweep", *option("model", path.stem)).model for path in paths}


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
    lines = ["| `model=` | checkpoint | description |", "|---|---|---|"]
    for path, config in model_options().items():
        if path.stem == "hf" or isinstance(config, RemoteModelConfig):  # hf: any checkpoint
            continue
        assert isinstance(config, ModelConfig)
        comment = (
            re.split(r"\n#\n", path.read_text(encoding="utf-8"))[0]
            .replace("\n# ", " ")
            .removeprefix("# ")
        )
        packaged = (config.checkpoint or MINI) in PACKAGED
        checkpoint = "ships with calib" if packaged else f"`{config.checkpoint}`"
        built = re.search(r"experiments[.](\w+)", BUILDS.get(path.stem, ""))
        if built:
            comment += f" [How it is built](../experiments/{built[1]}/README.md)."
        lines.append(f"| `{path.stem}` | {checkpoint} | {comment} |")
    return "\n".join(lines)


def page(text: str, record: dict[str, dict[str, str]]) -> str:
    """The page with its tables replaced."""
    for name, table in (("works", works(record)), ("options", options())):
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, opened, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        assert opened and closed, f"{PAGE} lacks the markers of the table {name}"
        text = f"{before}{start}{table}\n{end}{after}"
    return text


def main() -> None:
    record = {}
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            record[family] = measured(family, Path(folder))
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


if __name__ == "__main__":
    main()
