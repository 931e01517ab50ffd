"""The ways in which a method's setting can be deployed for the model of its run."""

from calib.config.quoting import shell_override
from calib.interchange.formats import require_expressible
from calib.report.ranking import MethodVerdict
from calib.runs.export import chosen_direction, exported_method
from calib.runs.run import Run
from calib.util.errors import CalibError

FIXED_TEXT = ("caution", "reminder")
"""Prompt-only methods whose prompt is the same text for every query."""
BIAS = (
    "internvl", "internvl3_1b", "internvl3_2b", "internvl3_8b", "llava_1_5", "llava_next",
    "llava_onevision", "idefics3", "smolvlm2", "mistral3", "vlguard",
)  # fmt: skip
"""Models (conf/model) whose decoder can store an added vector as a bias: Llama, Qwen2, Mistral."""
REMOTE = ("claude", "gemini", "gpt", "openrouter", "remote", "vllm")
"""Models behind an API, whose activations cannot be edited."""
NO_BIAS = (
    "gemma3", "internvl3_5_1b", "internvl3_5_2b", "internvl3_5_4b", "internvl3_5_8b", "mllama",
    "paligemma", "qwen2_5_vl", "qwen2_vl", "qwen3_vl",
)  # fmt: skip
"""Models whose decoder cannot: Qwen2-VL, Qwen2.5-VL, Qwen3, Gemma, Mllama."""


def deployment(verdict: MethodVerdict) -> dict[str, str]:
    """Return what is to be done for each way of deployment, or why the way is closed."""
    run, method = verdict.run, verdict.method
    if str((run.settings.get("model") or {}).get("name")) in REMOTE:
        return {"prompt": _prompt(method.name), "serve": "not possible: the model is behind an API"}
    serve = f"python -m calib.serve {shell_override('run', str(run.folder))}"
    if len([m for m in run.methods if not m.reference]) > 1:
        serve += f" {shell_override('pick', method.name)}"
    ways = {"serve": serve}
    if method.prompt_only:
        ways["prompt"] = _prompt(method.name)
        if method.name in FIXED_TEXT:
            ways["vLLM"] = "with that prompt"
        ways["baked"] = "not possible: no weight changes"
        return ways
    ways["prompt"] = "not possible: activations are edited"
    return ways | {"vLLM": _exported(run, method.name, "easysteer", "EasySteer"),
                   "baked": _exported(run, method.name, "baked", "any program")}  # fmt: skip


def _prompt(method: str) -> str:
    if method in FIXED_TEXT:
        return "in any server: copy the text under “Prompt as sent” of an example"
    if method == "few_shot":
        return "in any server: send the demonstrations as earlier turns before each query"
    return f"not possible: {method} makes several calls or changes each query in its own way"


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
    model = str((run.settings.get("model") or {}).get("name"))
    if model in NO_BIAS:
        return f"not possible: the decoder of {model} has no bias for the vector"
    unsure = "" if model in BIAS else ", which checks first whether the decoder has a bias for it"
    return f"for {reader}: {command}{unsure}"
