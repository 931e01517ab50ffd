"""What can be configured: one dataclass per noun, with its types, defaults and meanings.

These are the schemas behind ``conf/``: Hydra composes a configuration from the YAML files and the
command line, checks it against them and hands an entry point the dataclasses themselves. Nothing
here is imported by name from YAML, and nothing here imports torch, so ``--help`` stays fast.
A field without a default must be given.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib.config_checks import at_least_one, between, layers, not_empty, one_of, path, positive
from calib.config_data import DATA, UTILITIES, DataConfig, UtilityConfig
from calib.config_judges import JUDGES, JudgeConfig
from calib.config_methods import CONTRASTS, ESTIMATORS, METHODS, READ_POSITIONS, SITES
from calib.config_prompts import MethodConfig
from calib.errors import CalibError

HERE = Path(__file__).resolve().parent
# In a checkout conf/ stands beside the package, in a wheel inside it.
CONF = next((d for d in (HERE / "conf", HERE.parent / "conf") if d.is_dir()), HERE / "conf")

MAPPINGS = ("calib", "paper")
FORMATS = ("native",)
DTYPES = ("float32", "bfloat16", "float16", "auto")


@dataclass
class ModelConfig:
    name: str
    """Name of the model in folder names, tables and figures."""
    checkpoint: str | None = None
    """Hub id or path of the weights; null is the mini-internvl that comes with calib."""
    revision: str | None = None
    """Commit, tag or branch of a hub checkpoint."""
    dtype: str = "float32"
    """float32 | bfloat16 | float16 | auto (as stored). Rows are exactly repeatable in float32."""
    device_map: str | None = None
    """null is one device, a GPU where there is one; auto spreads a large model over all."""
    attention: str = "sdpa"
    """Attention implementation, as transformers names them: sdpa, eager, flash_attention_2."""
    tiles: bool = False
    """Cut large pictures into tiles (InternVL's crop_to_patches): more detail, more tokens."""

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, DTYPES)


@dataclass
class GenerationConfig:
    max_new_tokens: int = 32
    """A response is cut after this many tokens."""
    batch_rows: int = 512
    """Rows answered at once, where memory allows. Any number gives the same responses in float32.
    """
    memory_gb: float | None = None
    """What keys, values and activations may take, in GB; null is half of the machine's memory, or
    what the weights leave of a GPU's."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, every row draws by random numbers of its own."""
    top_p: float = 1.0
    """With temperature: draw among the likeliest tokens that together have this probability."""
    sharing: bool = True
    """Rows of one prompt share what they have in common. The responses are the same without."""
    early_stop: bool = False
    """End a response as soon as the judge cannot change its mind about the label."""

    def __post_init__(self) -> None:
        at_least_one("generation.max_new_tokens", self.max_new_tokens)
        at_least_one("generation.batch_rows", self.batch_rows)
        between("generation.temperature", self.temperature, 0.0, 100.0)
        between("generation.top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise CalibError("generation.top_p: 0 leaves no token to draw; 1 leaves all.")
        positive("generation.memory_gb", self.memory_gb)

    @property
    def memory(self) -> int | None:
        """memory_gb in bytes."""
        return None if self.memory_gb is None else int(self.memory_gb * 10**9)


@dataclass
class SweepConfig:
    model: ModelConfig
    method: MethodConfig
    data: DataConfig
    utility: UtilityConfig
    judge: JudgeConfig
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    methods: dict[str, MethodConfig] = field(default_factory=dict)
    """Several methods in one run, on one record; an experiment fills this in. Empty runs method."""
    experiment: str | None = None
    """Name of the experiment that put the run together, if one did."""
    title: str | None = None
    """What an experiment is, said in its output."""
    out: str | None = None
    """Folder of the run; null is a folder under runs/ named by the configuration."""
    seed: int = 0
    """Jitter of the mini world's pictures, and the draws of generation.temperature."""
    mapping: str = "calib"
    """How labels become metrics: calib | paper (VSCBench's own). The responses stay the same."""

    def __post_init__(self) -> None:
        one_of("mapping", self.mapping, MAPPINGS)
        path("out", self.out)
        if self.methods and self.method.name != "none":
            name, several = self.method.name, ", ".join(self.methods)
            raise CalibError(
                f"method={name} would be left out beside methods ({several}). Add it with "
                f"+method@methods.{name}={name}, and give method=none."
            )


@dataclass
class ExtractConfig:
    model: ModelConfig
    data: DataConfig
    utility: UtilityConfig
    estimator: str = "mean_difference"
    """How a direction is fitted to the pairs' activations."""
    contrast: str = "safety"
    """safety: unsafe minus safe examples; refusal: refused minus answered ones; responses: refusals
    minus answers to the same unsafe queries; modality: with minus without the picture."""
    read_positions: str = "last_prompt"
    """Tokens the direction is read from: last_prompt | prompt | image | text."""
    site: str = "residual"
    """residual: a block's output; heads: its attention heads; mlp: its MLP's output."""
    layers: Any = "all"
    """Decoder blocks that are read, from 0: all, one number, or a list of them."""
    kl: float | None = 0.1
    """Budget of KL at which each layer's effect is measured, in nats; null leaves that away."""
    max_new_tokens: int = 32
    """A response is cut after this many tokens (contrast=refusal has the model answer)."""
    batch_rows: int = 64
    """Prompts read at once."""
    out: str | None = None
    """Folder of the result; null is a folder under runs/ named by the configuration."""

    def __post_init__(self) -> None:
        one_of("estimator", self.estimator, ESTIMATORS)
        one_of("contrast", self.contrast, CONTRASTS)
        one_of("read_positions", self.read_positions, READ_POSITIONS)
        one_of("site", self.site, SITES)
        positive("kl", self.kl)
        layers("layers", self.layers)
        at_least_one("max_new_tokens", self.max_new_tokens)
        at_least_one("batch_rows", self.batch_rows)
        path("out", self.out)


@dataclass
class ExportConfig:
    run: str | None = None
    """Folder of a finished run, whose chosen direction is exported."""
    direction: str | None = None
    """Path of a direction file to convert, instead of a run."""
    format: str = "native"
    """native: calib's own direction file."""
    out: str | None = None
    """File to write, ending in .safetensors; null is in the run's folder under export/, or with
    direction= direction.safetensors in the current folder."""

    def __post_init__(self) -> None:
        one_of("format", self.format, FORMATS)
        for key in ("run", "direction", "out"):
            path(key, getattr(self, key))


@dataclass
class PlotConfig:
    runs: list[str]
    """Folders of the runs drawn into one figure."""
    out: str | None = None
    """Folder of the figures; null is the first run's."""

    def __post_init__(self) -> None:
        for run in not_empty("runs", self.runs):
            path("runs", run)
        path("out", self.out)


GROUPS: dict[str, dict[str, type]] = {
    "model": {"any": ModelConfig},
    "method": METHODS,
    "data": DATA,
    "utility": UTILITIES,
    "judge": JUDGES,
}
"""Schemas of the options of each config group; "any" where all options share one."""

ENTRY_POINTS: dict[str, type] = {
    "sweep": SweepConfig,
    "extract": ExtractConfig,
    "export": ExportConfig,
    "plot": PlotConfig,
}


@functools.cache  # Hydra 1.4 warns when a name is registered twice
def register() -> None:
    """Tell Hydra the schemas, under the names the YAML files extend them by."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, schema in ENTRY_POINTS.items():
        store.store(name=f"{name}_schema", node=schema)
    for group, schemas in GROUPS.items():
        for name, schema in schemas.items():
            # Under hydra/, which --help leaves out of the list of groups to choose from.
            store.store(group=f"hydra/schema/{group}", name=name, node=schema)
