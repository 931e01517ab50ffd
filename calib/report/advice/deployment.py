"""The ways in which a method's setting can be deployed for the model of its run.

docs/deploying.md has the same as tables, which tests/support/deployment_tables.py makes from the
lists here.
"""

from collections.abc import Mapping

import yaml

from calib.config.quoting import shell_override
from calib.config.schemas import CONF
from calib.interchange.formats import require_expressible
from calib.models.checkpoints.own_tower import NOT_READ, has_own_tower
from calib.report.ranking import MethodVerdict
from calib.runs.export import EXPORTED, chosen_direction, exported_method
from calib.runs.run import Run
from calib.util.errors import CalibError

WAYS = ("serve", "prompt", "vLLM", "baked")
FIXED_TEXT = ("caution", "reminder")
"""Prompt-only methods whose prompt is the same text for every query."""
BIAS = (
    "idefics3", "internvl", "internvl3_1b", "internvl3_2b", "internvl3_8b", "llava_1_5",
    "llava_next", "llava_onevision", "mistral3", "smolvlm2", "smolvlm_emoji", "smolvlm_emoji_guard",
    "vlguard",
)  # fmt: skip
"""Models (conf/model) whose decoder can store an added vector as a bias: Llama, Qwen2, Mistral."""
NO_BIAS = (
    "gemma3", "internvl3_5_1b", "internvl3_5_2b", "internvl3_5_4b", "internvl3_5_8b", "mllama",
    "paligemma", "qwen2_5_vl", "qwen2_vl", "qwen3_vl",
)  # fmt: skip
"""Models whose decoder cannot: Qwen2-VL, Qwen2.5-VL, Qwen3, Gemma, Mllama. The export checks any
other model."""


def deployment(verdict: MethodVerdict, source: tuple[Run, str] | None = None) -> dict[str, str]:
    """Return what is to be done for each of WAYS, or why the way is closed.

    ``source`` is the run of the method and its name there, if the verdict is on joint runs.
    """
    run, name = source or (verdict.run, verdict.method.name)
    prompt_only = verdict.method.prompt_only
    file = _file(run, name)
    own_tower = has_own_tower(_checkpoint(run))
    server = "calib's server" if own_tower else "any server"
    prompt = _prompt(file, server) if prompt_only else "not possible: activations are edited"
    if "base_url" in _model(run):
        closed = "not possible: the model is behind an API"
        opened = prompt_only and file in FIXED_TEXT
        vllm = "with that prompt, if the server is vLLM" if opened else closed
        return {"prompt": prompt, "serve": closed, "vLLM": vllm, "baked": closed}
    serve = f"python -m calib.serve {shell_override('run', str(run.folder))}"
    if len([m for m in run.methods if not m.reference]) > 1:
        serve += f" {shell_override('pick', name)}"
    unread = f"not possible: the model {NOT_READ.format('vLLM')}" if own_tower else ""
    if not prompt_only:
        vllm = unread or _exported(run, name, "easysteer", "EasySteer")
        baked = _exported(run, name, "baked", "calib" if own_tower else "any program")
        return {"serve": serve, "prompt": prompt, "vLLM": vllm, "baked": baked}
    vllm = "with that prompt" if file in FIXED_TEXT else "not possible: there is no such prompt"
    vllm = unread or vllm
    return {"serve": serve, "prompt": prompt, "vLLM": vllm,
            "baked": "not possible: no weight changes"}  # fmt: skip


def _file(run: Run, method: str) -> str:
    """The file in calib/methods of a method, which a run may have under another name."""
    return str(run.method_settings.get(method, {}).get("file") or method)


def _model(run: Run) -> Mapping[str, object]:
    return run.settings.get("model") or {}


def _checkpoint(run: Run) -> str:
    return str(_model(run).get("checkpoint") or "")


def _prompt(file: str, server: str) -> str:
    if file in FIXED_TEXT:
        return f"in {server}: copy the text under “Prompt as sent” of an example"
    if file == "few_shot":
        return "not possible: a run records the ids of its demonstrations, but not their pictures"
    return f"not possible: {file} makes several calls or changes each query in its own way"


def _exported(run: Run, method: str, format_name: str, reader: str) -> str:
    try:
        if method != exported_method(run):
            return f"not possible: {method} is not one vector that is added at every token"
        require_expressible(chosen_direction(run), format_name)
    except CalibError as error:
        return f"not possible: {error}"
    command = (
        f"python -m calib.export {shell_override('run', str(run.folder))} format={format_name}"
    )
    if format_name != "baked":
        return f"with {reader}: {command}"
    model = str(_model(run).get("name"))
    known = _model(run).get("checkpoint") == _checkpoint_of(model)
    if known and model in NO_BIAS:
        return f"not possible: the decoder of {model} has no bias for the vector"
    sure = known and model in BIAS
    unsure = "" if sure else ", which checks first whether the decoder has a bias for it"
    return f"for {reader}: {command}{unsure}"


def _checkpoint_of(option: str) -> object:
    """The checkpoint of an option of conf/model; None without one, as for mini-internvl."""
    path = CONF / "model" / f"{option}.yaml"
    if not path.is_file():
        return None
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("checkpoint")


# Tables of docs/deploying.md


def method_ways(file: str, prompt_only: bool) -> dict[str, str]:
    """Return "yes", "no" or a condition for each of WAYS, for a method of calib/methods."""
    if prompt_only:
        fixed = "yes" if file in FIXED_TEXT else "no"
        return {"serve": "yes", "prompt": fixed, "vLLM": fixed, "baked": "no"}
    vector = "with `positions=all`" if file == EXPORTED else "no"
    return {"serve": "yes", "prompt": "no", "vLLM": vector, "baked": vector}


def model_ways(option: str, remote: bool) -> dict[str, str]:
    """Return "yes", "no" or a condition for each of WAYS, for a model of conf/model."""
    if remote:
        vllm = "the prompt" if option == "vllm" else "no"
        return {"serve": "no", "prompt": "yes", "vLLM": vllm, "baked": "no"}
    known = {**dict.fromkeys(BIAS, "yes"), **dict.fromkeys(NO_BIAS, "no")}
    baked = known.get(option, "if the export finds a bias")
    vllm = "if vLLM has the model"
    if has_own_tower(str(_checkpoint_of(option) or "")):
        vllm, baked = "no", "for calib alone"
    return {"serve": "yes", "prompt": "yes", "vLLM": vllm, "baked": baked}
