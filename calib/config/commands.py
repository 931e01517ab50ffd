"""Settings of the commands other than calib.sweep, calib.extract and calib.judge.

The docstring of each class is the line that ``calib --help`` shows for its command.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import (
    at_least_one,
    between,
    environment,
    finite,
    layers,
    not_blank,
    not_empty,
    one_of,
    path,
    positive,
)
from calib.config.choices import EXPORT_FORMATS, FIGURE_FORMATS, IMPORT_FORMATS
from calib.config.data import DataConfig
from calib.config.model import ModelChoice, ModelConfig
from calib.config.prompts import MethodConfig
from calib.config.sweep import GenerationConfig
from calib.util.errors import CalibError


@dataclass
class ExportConfig:
    """Write the direction of a run to a file, for calib or for other programs."""

    run: str | None = None
    """Folder of a finished run, whose direction at the operating point is exported."""
    direction: str | None = None
    """Direction file to convert, instead of a run."""
    format: str = "native"
    """native: calib's own file; gguf: llama.cpp; repeng; easysteer; lm_eval; baked: a checkpoint
    with the edit merged into its weights."""
    layers: Any = None
    """Layers to export: a number, a list of numbers, or all. null means the selected layer, or all
    layers with format=native. Other formats apply several layers together."""
    strength: float | None = None
    """Strength to export, instead of the direction's own."""
    model: ModelChoice = field(default_factory=lambda: ModelConfig("internvl"))
    """Model for format=lm_eval and format=baked. Defaults to the run's model, or with direction= to
    the checkpoint that the file names."""
    out: str | None = None
    """File to write, or its folder; null means export/ in the run's folder, or with direction= the
    current folder."""
    push: str | None = None
    """Repository on the Hugging Face hub, USER/NAME, to upload the export and its card to."""
    private: bool = True
    """Make a repository created by push private."""

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
    """Import third-party steering vectors, or a direction from the Hugging Face hub."""

    model: ModelChoice
    format: str
    """Format of the file: gguf (llama.cpp, repeng, EasySteer) | refusal_direction | svec |
    safetensors | pt (torch.save: CAA and others) | npy (also .npz) | native."""
    file: str | None = None
    """File to import; for refusal_direction its direction.pt, next to direction_metadata.json; for
    pt and npy also a folder with one file per layer."""
    hub: str | None = None
    """Repository on the Hugging Face hub, USER/NAME, instead of a file (format=native only)."""
    hub_file: str = "direction.safetensors"
    """Name of the file in that repository."""
    revision: str | None = None
    """Commit, tag or branch of that repository."""
    layers: list[int] | None = None
    """Layer of each vector, in order, for a file of safetensors, pt or npy that does not name
    them."""
    shift: int = 0
    """Offset added to the file's layer numbers, if they do not count the outputs of decoder blocks
    from 0."""
    out: str = "direction.safetensors"
    """File to write."""

    def __post_init__(self) -> None:
        one_of("format", self.format, IMPORT_FORMATS)
        for key in ("file", "hub", "hub_file", "out"):
            path(key, getattr(self, key))
        if (self.file is None) == (self.hub is None):
            raise CalibError(
                "missing-setting" if self.file is None else "conflicting-settings",
                "Give either file=FILE or, with format=native, hub=USER/NAME.",
            )
        if self.hub is not None and self.format != "native":
            raise CalibError(
                "conflicting-settings",
                f"hub works with format=native only, not with format={self.format}. Download the "
                "file and give file=FILE.",
            )
        if self.format == "native" and (self.shift or self.layers is not None):
            raise CalibError(
                "conflicting-settings",
                "A file of format=native names its layers. Omit shift and layers.",
            )


@dataclass
class ConvertConfig:
    """Convert a checkpoint in the original LLaVA-1.5 format to the format of transformers."""

    source: str
    """Folder or hub id of a checkpoint in the original LLaVA-1.5 format."""
    out: str
    """Folder to write the converted checkpoint to; must not exist."""
    skeleton: str = "llava-hf/llava-1.5-7b-hf"
    """Folder or hub id of a model of the same shape in transformers' format. It provides the
    processor and the weights that the checkpoint lacks, such as the vision tower."""
    revision: str | None = None
    """Commit, tag or branch of a source on the hub."""
    skeleton_revision: str | None = None
    """Commit, tag or branch of a skeleton on the hub."""

    def __post_init__(self) -> None:
        for key in ("source", "out", "skeleton"):
            path(key, getattr(self, key))
        not_blank("revision", self.revision)
        not_blank("skeleton_revision", self.skeleton_revision)


ALL = "all"
"""Value of pick that serves every method of a run."""
SERVED_LENGTH = 512
"""Default of max_new_tokens for requests to a server, in tokens."""


@dataclass
class ServeConfig:
    """Serve a calibrated model behind OpenAI's chat-completions API."""

    model: ModelChoice
    method: MethodConfig
    run: str | None = None
    """Folder of a finished run, whose model, method and operating point are served."""
    pick: str | None = None
    """Name of the method to serve, for a run of several methods; all serves each of them, under a
    model name of its own."""
    strength: float | None = None
    """Strength; null means the run's operating point, or method.strengths."""
    layer: int | None = None
    """Layer; null means the run's operating point, or method.layers."""
    name: str | None = None
    """Name of the model for clients; null means the checkpoint's name and the method's. The
    unedited model has the name with -uncalibrated appended or, without a method, the name alone."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 also serves other machines; this requires key_env or no_key."""
    port: int = 8000
    """Port to listen on; 0 means any free port."""
    key_env: str | None = None
    """Environment variable that holds the API key required from clients; null requires none."""
    no_key: bool = False
    """Serve other machines without an API key: whoever reaches this machine can use the model."""
    hosts: list[str] = field(default_factory=list)
    """Further names by which clients reach the server, such as that of a reverse proxy. Accepted in
    any case are IP addresses, localhost and, for other machines, this machine's own name."""
    generation: GenerationConfig = field(
        default_factory=lambda: GenerationConfig(max_new_tokens=SERVED_LENGTH)
    )
    """Settings of generation; max_new_tokens, temperature and top_p are defaults for requests."""
    body_mb: int = 32
    """Largest request body, in MiB."""
    pictures: int = 16
    """Largest number of pictures in a request."""
    megapixels: int = 16
    """Largest number of pixels of a request's pictures together, in millions."""
    waiting: int = 256
    """Largest number of concurrent requests; further requests get HTTP 429."""
    stalled_after: float = 600.0
    """Seconds without progress of the model, while requests wait, after which they get HTTP 503 and
    /health reports the server as failing. Each layer that the model computes is progress, those of
    its vision tower too."""
    playground: bool = True
    """Whether GET / answers with the playground: a page on which a person tries the model."""

    def __post_init__(self) -> None:
        path("run", self.run)
        for key in ("pick", "name", "host"):
            not_blank(key, getattr(self, key))
        if self.strength is not None:
            finite("strength", [self.strength])
        if self.layer is not None:
            between("layer", self.layer, 0, 10_000)
        self.generation = self.generation.with_length(SERVED_LENGTH)
        between("port", self.port, 0, 65535)
        if self.key_env is not None:
            environment("key_env", self.key_env)
        for name in self.hosts:
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
                raise CalibError(
                    "invalid-setting",
                    f"hosts: {name!r} is not a host name. Give names without port and path, such "
                    "as model.example.com.",
                )
        if self.no_key and self.key_env is not None:
            raise CalibError(
                "conflicting-settings",
                f"no_key=true cannot be given with key_env={self.key_env}. Omit one of them.",
            )
        between("body_mb", self.body_mb, 1, 1024)
        between("pictures", self.pictures, 1, 1024)
        between("megapixels", self.megapixels, 1, 64)
        at_least_one("waiting", self.waiting)
        positive("stalled_after", self.stalled_after)
        if self.generation.early_stop:
            raise CalibError(
                "conflicting-settings",
                "generation.early_stop needs a judge, and a server has none. Omit it.",
            )


@dataclass
class PairsConfig:
    """Check a table of your own pairs and list every fault, or write a template to fill in."""

    data: DataConfig
    check: str | None = None
    """Table or folder to check; the same as data.file."""
    new: str | None = None
    """New folder for a template: a workbook, a CSV file and example pictures."""

    def __post_init__(self) -> None:
        for key in ("check", "new"):
            path(key, getattr(self, key))
        file = getattr(self.data, "file", None)
        given = [name for name in (self.check, self.new, file) if name is not None]
        if not given:
            raise CalibError(
                "missing-setting",
                "Give check=PATH to check a table, or new=FOLDER to write a template.",
            )
        if len(given) > 1:
            raise CalibError(
                "conflicting-settings",
                "check=PATH, data.file=PATH and new=FOLDER exclude each other. Give one of them.",
            )


@dataclass
class DualbenchConfig:
    """Render harmful and benign instructions as pictures, plain and perturbed (DUAL-Bench)."""

    data: DataConfig
    out: str
    """Folder to write the pictures to."""

    def __post_init__(self) -> None:
        path("out", self.out)


@dataclass
class PlotConfig:
    """Draw figures of finished runs."""

    runs: list[str]
    """Folders of the finished runs to draw together; layers and projections also accept a run of
    calib.extract."""
    figures: list[str] | None = None
    """Names of the figures to draw; null means every figure that these runs have data for."""
    columns: int | None = None
    """Width in columns of a paper: 1 (3.3 inches) or 2 (6.9 inches); null means each figure's
    default."""
    formats: list[str] = field(default_factory=lambda: list(FIGURE_FORMATS))
    """File formats: png, pdf, svg."""
    out: str | None = None
    """Folder to write the figures to; null means the first run's folder."""

    def __post_init__(self) -> None:
        for run in not_empty("runs", self.runs):
            path("runs", run)
        if self.figures is not None:
            not_empty("figures", self.figures)
        if self.columns not in (None, 1, 2):
            raise CalibError(
                "invalid-setting",
                f"columns: {self.columns} is not 1 or 2. Omit it for each figure's default width.",
            )
        for name in not_empty("formats", self.formats):
            one_of("formats", name, FIGURE_FORMATS)
        path("out", self.out)


@dataclass
class ReportConfig:
    """Write one HTML file on finished runs: verdict, figures, tables and every example."""

    runs: list[str]
    """Folders of the finished runs to show in one page."""
    out: str | None = None
    """HTML file to write; null means report.html in the first run's folder."""
    pictures: bool = True
    """Include the examples' pictures; false makes a page that is safe to share."""
    examples: int = 2000
    """Largest number of examples in the page, over all runs. Examples that a method changed from
    right to wrong or back come first, then a random sample; counts are over all examples."""

    def __post_init__(self) -> None:
        for run in not_empty("runs", self.runs):
            path("runs", run)
        path("out", self.out)
        at_least_one("examples", self.examples)
