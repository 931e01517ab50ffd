"""A reader's folder in which every shown command can be given."""

import csv
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from benchmark_copies import local, write
from hub_copies import FOLDERS_OF, load_dataset
from in_process import command, undrawn
from local_endpoint import LocalEndpoint
from reader_desk import Desk
from stand_ins import Checkpoints, Hub, answer

from calib.data.example import Example
from calib.data.mini.examples import load as load_mini
from calib.models.load import load
from calib.runs.manifest import provenance

once = functools.cache(provenance)
_examples = functools.cache(lambda *given: load_mini(*given))


def mini(datasets: Sequence[str], *given: Any) -> list[Example]:
    return list(_examples(tuple(datasets), *given))


KEYS = ("OPENAI", "ANTHROPIC", "GEMINI", "OPENROUTER", "VLLM")


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of benchmark copies, checkpoints and runs that all commands share, read only."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def checkpoints(copies: Path) -> Iterator[Checkpoints]:
    made = Checkpoints(copies / "checkpoints")
    yield made
    made.check()


@pytest.fixture(scope="session")
def finished(copies: Path, checkpoints: Checkpoints) -> Path:
    """A tiny finished run of mini-internvl, with a sheet of the audit that a human has labelled."""
    run = copies / "run"
    patch = pytest.MonkeyPatch()
    patch.setattr("calib.models.load.load", checkpoints.load)
    patch.setattr("calib.report.page.write.write_report", lambda _, out, **__: out)
    with undrawn():
        for name, *settings in (
            ("sweep", "method=steer", "method.layers=[2,3]", "method.strengths=[-2,2]",
             "method.positions=all", "data.limit=10", "data.parts=[image_centric]",
             "utility.limit=3", "generation.max_new_tokens=12", f"out={run}"),
            ("judge", f"run={run}", "audit=2"),
        ):  # fmt: skip
            done = command(name, *settings)
            assert done.code == 0, done.stderr
    patch.undo()
    sheet = run / "audit" / "sheet.csv"
    with sheet.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = "answer"
    write(sheet, rows)
    return run


@pytest.fixture(scope="session")
def endpoint() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(by=answer) as server:
        yield server


@pytest.fixture
def desk(
    tmp_path: Path,
    copies: Path,
    checkpoints: Checkpoints,
    finished: Path,
    endpoint: LocalEndpoint,
    undrawn: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """The reader's folder, with nothing behind it that is not on this machine."""
    made = Desk(tmp_path, copies, checkpoints, finished, endpoint.url)
    for module in ("models.load", "serving.loader"):
        monkeypatch.setattr(f"calib.{module}.load", checkpoints.load)
    # What is the same for all commands is asked once.
    monkeypatch.setattr("calib.data.mini.examples.load", mini)
    monkeypatch.setattr("calib.runs.manifest.provenance", once)
    monkeypatch.setattr("calib.serving.server.create_server", made.client)
    monkeypatch.setattr("calib.api.load_vlm", checkpoints.load)
    # A conversion writes into the skeleton that it loads, so it has one of its own.
    monkeypatch.setattr("calib.models.conversion.load", load)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda hub, **_: str(local(FOLDERS_OF[hub], copies / "data" / FOLDERS_OF[hub])),
    )
    monkeypatch.setattr(
        "calib.models.original_llava.snapshot_download", lambda *_, **__: made.file("original")
    )
    hub = Hub(lambda: made.file("direction.safetensors"))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    for name in KEYS:
        monkeypatch.setenv(f"{name}_API_KEY", "a-key-that-is-none")
    monkeypatch.chdir(tmp_path)
    return made
