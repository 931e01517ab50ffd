"""Settings of the commands beside calib.sweep and calib.extract."""

from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import (
    at_least_one,
    between,
    environment,
    finite,
    layers,
    not_empty,
    one_of,
    path,
    words,
)
from calib.config.choices import EXPORT_FORMATS, IMPORT_FORMATS, MAPPINGS
from calib.config.data import DataConfig
from calib.config.judge import JudgeConfig
from calib.config.model import ModelChoice, ModelConfig
from calib.config.prompts import MethodConfig
from calib.config.sweep import GenerationConfig
from calib.util.errors import CalibError


@dataclass
class ExportConfig:
    run: str | None = None
    """Folder of a finished run, whose chosen direction is exported."""
    direction: str | None = None
    """Path of a direction file to convert, instead of a run."""
    format: str = "native"
    """native: calib's own file; gguf: llama.cpp; repeng; easysteer; lm_eval; baked: a checkpoint
    whose own weights carry the edit."""
    layers: Any = None
    """Layers that are exported: one number, a list of them, or all. null is the chosen one, or with
    format=native all there are. In other formats several are added together."""
    strength: float | None = None
    """Strength to export instead of the direction's own."""
    model: ModelChoice = field(default_factory=lambda: ModelConfig("internvl"))
    """The model that lm_eval and baked are made for; as it is here, it is the run's own, or with
    direction= the checkpoint that the file names."""
    out: str | None = None
    """File to write, or the folder it goes to; null is in the run's folder under export/, or with
    direction= in the current folder."""
    push: str | None = None
    """USER/NAME on the Hugging Face hub to upload the export to, with its card."""
    private: bool = True
    """Whether a repository that push makes is private."""

    def __post_init__(self) -> None:
        one_of("format", self.format, EXPORT_FORMATS)
        if self.layers is not None:
            layers("layers", self.layers)
        for key in ("run", "direction", "out", "push"):
            path(key, getattr(self, key))
        if self.strength is not None:
            finite("strength", [self.strength])


@dataclass
class ImportConfig:
    model: ModelChoice
    format: str
    """gguf (llama.cpp, repeng, EasySteer) | refusal_direction | svec | safetensors | native."""
    file: str | None = None
    """The file; for refusal_direction its direction.pt, with direction_metadata.json beside it."""
    hub: str | None = None
    """With format=native, instead of a file: USER/NAME on the Hugging Face hub."""
    hub_file: str = "direction.safetensors"
    """Name of the file there."""
    revision: str | None = None
    """Its commit, tag or branch."""
    layers: list[int] | None = None
    """With safetensors: the layers of the rows of a file that does not say them, in their order."""
    shift: int = 0
    """Added to the layers of the file, where they count something else than blocks' outputs."""
    out: str = "direction.safetensors"
    """File to write."""

    def __post_init__(self) -> None:
        one_of("format", self.format, IMPORT_FORMATS)
        for key in ("file", "hub", "hub_file", "out"):
            path(key, getattr(self, key))
        if (self.file is None) == (self.hub is None):
            raise CalibError("give either file=FILE or, with format=native, hub=USER/NAME.")
        if self.hub is not None and self.format != "native":
            raise CalibError(
                f"hub is read with format=native only, not {self.format}. Download the file and "
                "give it with file=FILE."
            )
        if self.format == "native" and (self.shift or self.layers is not None):
            raise CalibError("format=native says its layers itself. Leave shift and layers away.")


@dataclass
class ConvertConfig:
    source: str
    """Folder or hub id of a checkpoint in the original LLaVA-1.5 format."""
    out: str
    """Folder of the converted checkpoint; must not be there yet."""
    skeleton: str = "llava-hf/llava-1.5-7b-hf"
    """Folder or hub id of a model of the same shape in transformers' format: it gives the processor
    and whatever the checkpoint has none of, such as the vision tower."""
    revision: str | None = None
    """Commit, tag or branch of a source on the hub."""
    skeleton_revision: str | None = None
    """Commit, tag or branch of a skeleton on the hub."""

    def __post_init__(self) -> None:
        for key in ("source", "out", "skeleton"):
            path(key, getattr(self, key))


@dataclass
class ServeConfig:
    model: ModelChoice
    method: MethodConfig
    run: str | None = None
    """Folder of a finished run: its model, its method, and the layer and strength it chose."""
    pick: str | None = None
    """With a run of several methods: the name of the one to serve."""
    strength: float | None = None
    """In place of the one that the run chose, or that method.strengths gives."""
    layer: int | None = None
    """In place of the one that the run chose, or that method.layers gives."""
    name: str | None = None
    """What clients call the model; null is the checkpoint's name and the method's. With
    -uncalibrated behind it they get the model as it is."""
    host: str = "127.0.0.1"
    """Address that is listened on. Other machines are served with 0.0.0.0; set key_env then."""
    port: int = 8000
    """0 takes one that is free."""
    key_env: str | None = None
    """Environment variable that holds the key which clients must give; null asks for none."""
    generation: GenerationConfig = field(
        default_factory=lambda: GenerationConfig(max_new_tokens=512)
    )
    """max_new_tokens, temperature and top_p are for requests that do not say."""
    body_mb: int = 32
    """Largest request, in MiB."""
    waiting: int = 256
    """Requests that are taken at once; more are told to come again."""

    def __post_init__(self) -> None:
        path("run", self.run)
        for key in ("pick", "name", "host"):
            value = getattr(self, key)
            if value is not None and not value.strip():
                raise CalibError(f"{key} is empty. Give one, or leave the setting away.")
        if self.strength is not None:
            finite("strength", [self.strength])
        if self.layer is not None:
            between("layer", self.layer, 0, 10_000)
        between("port", self.port, 0, 65535)
        if self.key_env is not None:
            environment("key_env", self.key_env)
        between("body_mb", self.body_mb, 1, 1024)
        at_least_one("waiting", self.waiting)
        if self.generation.early_stop:
            raise CalibError(
                "generation.early_stop goes by a judge, and none is asked here. Leave it away."
            )


@dataclass
class DualbenchConfig:
    data: DataConfig
    out: str
    """Folder of the pictures."""

    def __post_init__(self) -> None:
        path("out", self.out)


@dataclass
class PlotConfig:
    runs: list[str]
    """Folders of the runs drawn into one figure each time; layers and projections also take one of
    calib.extract."""
    figures: list[str] | None = None
    """Names of those to draw; null is every one that these runs can be drawn as."""
    columns: int | None = None
    """Width in columns of a paper: 1 (3.3 inches), 2 (6.9 inches), or null for each figure's own.
    """
    formats: list[str] = field(default_factory=lambda: ["png", "pdf", "svg"])
    """Kinds of file: png, pdf, svg."""
    out: str | None = None
    """Folder of the figures; null is the first run's."""

    def __post_init__(self) -> None:
        for run in not_empty("runs", self.runs):
            path("runs", run)
        if self.figures is not None:
            not_empty("figures", self.figures)
        if self.columns not in (None, 1, 2):
            raise CalibError(f"columns: {self.columns} is not 1 or 2; null is each figure's own.")
        not_empty("formats", self.formats)
        path("out", self.out)


@dataclass
class ReportConfig:
    runs: list[str]
    """Folders of the finished runs shown in one page."""
    out: str | None = None
    """HTML file to write; null is report.html in the first run's folder."""
    pictures: bool = True
    """Whether the examples' pictures are in it; false for a page to share."""
    examples: int = 2000
    """Most examples in it, of all runs together. Those that a method changed from right to wrong
    or back come first, then others drawn at random; what is counted is counted over all."""

    def __post_init__(self) -> None:
        for run in not_empty("runs", self.runs):
            path("runs", run)
        path("out", self.out)
        at_least_one("examples", self.examples)


@dataclass
class JudgeRunConfig:
    judge: JudgeConfig
    run: str | None = None
    """Folder of a finished run, whose responses are judged again; nothing is generated."""
    check: str | None = None
    """Table with responses and human labels (columns response, label, and what else there is of
    query, safety, request, text), which the judge is compared with."""
    audit: int | None = None
    """With run: write a sheet with at most this many random responses per cell (method, part), to
    be labelled by hand without knowing what they come from; check=SHEET then compares."""
    columns: Any = None
    """With check: names of the columns in your table, where they differ, e.g. {label: final_label}.
    """
    labels: Any = None
    """With check: what your labels mean, e.g. {1_full_compliance: answer}."""
    merge: bool = False
    """With check: count refusal, safe_completion and blocked as one, refusal."""
    mapping: str | None = None
    """How labels become metrics: calib | paper (VSCBench's own); null is the run's."""
    seed: int = 0
    """Which responses are drawn for the sheet."""
    out: str | None = None
    """Folder of what is written; null is in the run's folder, under judged/ or audit/."""

    def __post_init__(self) -> None:
        for key in ("run", "check", "out"):
            path(key, getattr(self, key))
        at_least_one("audit", self.audit)
        for key in ("columns", "labels"):
            words(key, getattr(self, key))
        of_check = [key for key in ("columns", "labels", "merge") if getattr(self, key)]
        if of_check and self.check is None:
            raise CalibError(
                f"{of_check[0]} is about a table with human labels. Give it with check=FILE, or "
                "leave it away."
            )
        if self.check is not None and self.out is not None:
            raise CalibError("check writes nothing but what it prints. Leave out=FOLDER away.")
        if self.mapping is not None and (self.check is not None or self.audit is not None):
            raise CalibError(
                "mapping says how labels become metrics, and check and audit have none. Leave it "
                "away."
            )
        if self.mapping is not None:
            one_of("mapping", self.mapping, MAPPINGS)
