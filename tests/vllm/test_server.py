"""A real vLLM server with vllm-lens gives the responses of vLLM in this process."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from logit_ties import TIE, first_difference, gap
from ports import free_port
from vllm_worlds import World, examples

from calib.config.engine import VllmChoice
from calib.config.model import ModelConfig
from calib.engine.request import Request
from calib.engine.vllm.server.backend import ServerBackend
from calib.models.load import load, mini_folder

START = 240.0
"""Seconds in which a server must start."""
FLAGS = (
    "--dtype=float32", "--enforce-eager", "--no-enable-prefix-caching", "--max-logprobs=-1",
    "--generation-config=vllm",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(installed, tmp_path_factory):
    """mini-internvl behind a server of this machine, which executes hooks."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *FLAGS]
    where = [f"--model={mini_folder()}", "--host=127.0.0.1", f"--port={port}"]
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [*command, *where], stdout=output, stderr=subprocess.STDOUT, env=_environment()
        )
        try:
            _wait_until_ready(server, f"http://127.0.0.1:{port}/health", log)
            settings = VllmChoice(base_url=f"http://127.0.0.1:{port}", hooks=True)
            with ServerBackend(settings, mini_folder()) as backend:
                vlm = load(ModelConfig(name="mini_internvl"))
                yield World(vlm, backend, tuple(examples("mini_internvl")))
        finally:
            server.terminate()
            server.wait(30)


def _environment():
    # The server's engine in a process of its own, as in production.
    return {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            ended = server.poll() is not None or time.monotonic() > deadline
            assert not ended, log.read_text(encoding="utf-8", errors="replace")[-3000:]
            time.sleep(0.5)


def test_responses_and_kl_are_those_of_transformers(served):
    rows = served.rows[::3]
    requests = [Request(example, edits) for example, edits in rows]
    ours, theirs = (engine.answer(requests) for engine in served.engines())
    for (example, edits), one, other in zip(rows, ours, theirs, strict=True):
        if first_difference(one.tokens, other.tokens) is not None:
            assert gap(served.vlm, example, edits, one.tokens, other.tokens) < TIE
        else:
            assert (other.text, other.finish) == (one.text, one.finish)
        assert other.kl == pytest.approx(one.kl, rel=1e-3, abs=1e-5)


def test_activations_are_those_of_transformers(served):
    ours, theirs = (reader.read_activations(served.examples) for reader in served.readers())
    assert (theirs - ours).norm(dim=-1).max() < 1e-4 * ours.norm(dim=-1).min()


def test_the_server_is_described(served):
    described = served.backend.describe()
    assert described["vllm"] and described["vllm_lens"] and described["prefix_caching"] != "True"
    assert described["max_model_len"] == served.vlm.context_length
