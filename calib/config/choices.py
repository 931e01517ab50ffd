"""Every closed list of choices that a setting can name, in one place."""

MAPPINGS = ("calib", "paper")
EXPORT_FORMATS = ("native", "gguf", "repeng", "easysteer", "lm_eval", "baked")
IMPORT_FORMATS = ("gguf", "refusal_direction", "svec", "safetensors", "native")
DTYPES = ("float32", "bfloat16", "float16", "auto")
QUANTIZATIONS = ("4bit", "8bit")


ESTIMATORS = (
    "mean_difference", "paired_mean_difference", "pca", "logistic_probe", "lda",
    "multi_response_means",
)  # fmt: skip
"""Those that find one direction per layer; vlm_guard and nullspace use the ones that find more."""
CONTRASTS = (
    "safety", "refusal", "harmful_refusal", "false_refusal", "true_refusal", "responses",
    "modality",
)  # fmt: skip
POSITIONS = ("all", "prompt", "image", "text", "last_prompt", "response")
READ_POSITIONS = ("last_prompt", "prompt", "image", "text")
SITES = ("residual", "heads", "mlp")
OPERATORS = (
    "add", "add_keeping_norm", "add_by_norm", "add_by_norm_keeping_norm", "ablate", "linear",
    "clamp",
)  # fmt: skip
GATES = ("none", "cosine", "probe")
LAYER_BANDS = ("all", "lower", "middle", "upper")


PARTS = ("image_centric", "text_centric", "dual_use")


LABELS = ("refusal", "safe_completion", "answer", "irrelevant")
PROTOCOLS = ("calib", "vscbench", "dualbench")


PROMPT_PLACES = ("system", "before", "after")
