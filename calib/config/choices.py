"""Every closed list of names that a setting can take; registries elsewhere are keyed by these.

A list that the type checker needs too is a Literal, and its tuple is read from it. Models, methods,
data sets and judges are not listed here: they are the files of conf/ and of their rooms.
"""

from typing import Literal, get_args

# Examples

Safety = Literal["safe", "unsafe"]
SAFETIES: tuple[Safety, ...] = get_args(Safety)

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SPLIT_LEVELS = ("concept", "query", "pair")
"""What a split keeps together, from the coarsest to the finest."""

PARTS = ("image_centric", "text_centric", "dual_use")
"""Parts of a safety benchmark: the harm is in the image, in the text, or in its use."""

PERTURBATIONS = ("real_background", "noise", "rotation", "small_font", "translation")
"""DUAL-Bench's perturbations of a rendered instruction."""

# Models

DTYPES = ("float32", "bfloat16", "float16", "auto")
QUANTIZATIONS = ("4bit", "8bit")

DIRECTION_ORIGINS = ("same_settings", "same_weights")
"""What a direction must have in common with the model that uses it (model.accept_directions)."""

LENGTH_LIMITS = ("max_tokens", "max_completion_tokens")
"""Names that endpoints give to the limit on a response's length."""

SAMPLING = ("temperature", "top_p", "seed")
"""Sampling parameters of a chat-completions request."""

# Directions

ESTIMATORS = (
    "mean_difference", "paired_mean_difference", "pca", "logistic_probe", "lda",
    "multi_response_means",
)  # fmt: skip
"""Estimators of one direction per layer."""

SUBSPACE_ESTIMATORS = ("svd_subspace", "nullspace_ridge")
"""Estimators of several directions per layer, for vlm_guard and nullspace only."""

CONTRASTS = (
    "safety", "refusal", "harmful_refusal", "false_refusal", "true_refusal", "completion",
    "responses", "modality",
)  # fmt: skip

CONTRASTS_OF_PROMPTS = ("safety", "modality")
"""Contrasts that need no responses of the model, and so no judge."""

# Interventions

Positions = Literal[
    "all", "prompt", "image", "text", "last_prompt", "response", "after_instruction"
]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
READ_POSITIONS = ("last_prompt", "instruction_end", "prompt", "image", "text", "response")
"""Tokens that a direction can be read from. Besides these, last_prompt-1, last_prompt-2, ... are
single tokens before the last prompt token. "response" needs contrast=responses, or a method that
supplies responses."""

Site = Literal["residual", "heads", "mlp"]
SITES: tuple[Site, ...] = get_args(Site)

OPERATORS = (
    "add", "add_keeping_norm", "add_by_norm", "add_by_norm_keeping_norm", "ablate", "linear",
    "clamp",
)  # fmt: skip

LAYER_BANDS = ("all", "lower", "middle", "upper")

GATES = ("none", "cosine", "probe")
CLOSED_GATE_ACTIONS = ("nothing", "opposite")
"""Interventions on a prompt whose gate stays closed."""
GATE_SIDES = ("auto", "above", "below")
GATE_CRITERIA = ("f1", "youden")
"""Measures of how well a gate separates unsafe from safe validation queries."""

PROBE_PROMPTS = ("both", "check", "query")
"""Prompts at whose ends the probe of two_sided reads activations."""
EDITED_SIDES = ("both", "unsafe", "safe")
"""Queries that two_sided edits: those that its probe finds unsafe, those it finds safe, or both."""

HARM_DIRECTIONS = ("projected", "orthogonal")
"""The part of the harm direction that adaptive adds: along refusal, or the rest."""

COMPARISON_PICTURES = ("blank", "noise", "own")
"""Pictures that activations with the example's picture are compared with (method.picture)."""

PROBE_DIRECTIONS = ("mean_shift", "probe_weight")
"""Direction extractors of Internal Activation Revision."""

SAMPLE_CONTRASTS = ("responses", "safety", "modality")
"""Contrasts of the methods with method.samples."""

PROMPT_PLACES = ("system", "before", "after", "around")
REASONING_PLACES = ("turn", "system", "before", "after")
"""Places of a chain of thought, before the final response (method=cot)."""
SystemPlace = Literal["template", "user"]
SYSTEM_PLACES: tuple[SystemPlace, ...] = get_args(SystemPlace)
"""Places of system prompts: where the chat template has them, or before the first query."""
TEMPLATE_ARGUMENTS = (
    "messages", "tools", "documents", "add_generation_prompt", "continue_final_message",
)  # fmt: skip
"""Variables of chat templates that the conversation decides, and no setting."""
VERDICTS = ("reply", "first_word")
"""What must be "yes" in the reply to a yes-or-no question (method=ecso, self_check)."""
SELECTIONS = ("grid", "published")
"""How ablate and surgical find the token and layer of their direction."""

# Judges and metrics

Label = Literal["refusal", "safe_completion", "answer", "irrelevant", "blocked"]
LABELS: tuple[Label, ...] = get_args(Label)

JUDGE_LABELS = ("refusal", "safe_completion", "answer", "irrelevant")
"""Labels that a judge may give; only the client of an endpoint knows that one was blocked."""

PROTOCOLS = ("calib", "vscbench", "dualbench")
CLASSIFIER_KINDS = ("generative", "sequence")
MAPPINGS = ("calib", "paper")

# Files

EXPORT_FORMATS = ("native", "gguf", "repeng", "easysteer", "lm_eval", "baked")
IMPORT_FORMATS = ("gguf", "refusal_direction", "svec", "safetensors", "pt", "npy", "native")
FIGURE_FORMATS = ("png", "pdf", "svg")
