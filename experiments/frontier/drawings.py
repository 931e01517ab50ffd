"""The run of all methods on smolvlm_emoji and its guard: 4 settings of each, on pairs of drawings.

A response of SmolLM2 takes a quarter of a second of a CPU core, so that each method has 4 settings
in place of 24: two of its strengths at, or from, layer 15 and 25 of 30, or four variants.
"""

from collections.abc import Container, Iterator, Mapping, Sequence

from experiments.smolvlm_emoji.pairs import NAMES
from experiments.studies import DRAWINGS, Model, drawings

LIMIT = 24
"""Queries of a part and split, and questions of a split."""
TITLE = "all methods, each with 4 settings to select from on validation"
VARIANTS = {
    "[1,2,3,4]": ("reminder", "caution", "cot", "ecso", "self_check"),
    "[1,2,101,102]": ("few_shot",),
    "[-5,-2,5,10]": ("iar_head",),
}
"""Four settings each, by method."""
AT_LAYERS = {
    "[-1,1]": ("steer", "iar_layer", "combine.activation"),
    "[0.5,1]": ("ablate", "surgical", "refusal_control", "two_sided"),
    "[2,5]": ("astra",),
}
"""Two strengths of the methods that edit one layer."""
FROM_LAYERS = {
    "[-0.5,0.5]": ("steer_pca", "shiftdc", "cmrm", "vlm_guard"),
    "[0.25,0.5]": ("conditional", "scans", "adaptive"),
    "[0.5,1]": ("nullspace",),
    "[-0.1,0.1]": ("vti",),
}
"""Two strengths of the methods that edit all layers from one on."""
LAYERS = "[15,25]"
NOT_APPLICABLE = {
    "smolvlm_emoji": {"surgical": "it is fitted to safe queries that are refused: there are none"}
}
"""Methods that a model gives nothing to fit, with the reason."""


def settings(model: Model, limit: int) -> tuple[str, ...]:
    """Settings of calib.sweep; ``limit`` queries and questions, and LIMIT at most."""
    asked = min(limit, LIMIT)
    left_out = NOT_APPLICABLE.get(model.name, {})
    return (
        "experiment=all_methods", f'title="{TITLE}"', *drawings(),
        "utility=own", f"utility.root={(DRAWINGS / NAMES).as_posix()}", f"data.limit={asked}",
        f"utility.limit={asked}", "report=false", "method@reference=none",
        *_settings(VARIANTS, left_out), *_settings(AT_LAYERS, left_out, "layers"),
        *_settings(FROM_LAYERS, left_out, "first_layers"),
        *(f"~methods.{name}" for name in left_out),
    )  # fmt: skip


def _settings(
    strengths: Mapping[str, Sequence[str]], left_out: Container[str], layers: str = ""
) -> Iterator[str]:
    for values, names in strengths.items():
        for name in names:
            if name not in left_out:
                yield f"methods.{name}.strengths={values}"
                if layers:
                    yield f"methods.{name}.{layers}={LAYERS}"
