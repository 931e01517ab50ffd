"""No command connects to another machine, unless the user names one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")
pytest.importorskip("openai", reason="the api extra brings openai")
pytest.importorskip("gguf", reason="the gguf extra brings gguf")

SUPPORT = Path(__file__).resolve().parents[1] / "support"
SWITCHES = (
    "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_UPDATE_CHECK", "DO_NOT_TRACK",
)  # fmt: skip
"""Variables that keep libraries from using the network. Users do not set them."""
PROGRAMS = {"program git", "program fc-list", "program uname"}
"""The commit of calib, the fonts of the system (matplotlib), the machine's name (platform)."""


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """By command, the hosts that it looked up or connected to, and the programs that it started."""
    script = SUPPORT / "watched_commands.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path_factory.mktemp("watched")],
        env={name: value for name, value in os.environ.items() if name not in SWITCHES},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_no_command_uses_the_network(used):
    hosts = {step: set(found) - PROGRAMS for step, found in used.items()}
    assert hosts.pop("elsewhere") == {"192.0.2.1"}  # what the test would notice
    assert hosts.pop("serve") == hosts.pop("judge") == {"127.0.0.1"}
    assert {"import", "sweep", "extract", "report", "plot", "export"} <= hosts.keys()
    assert {step: found for step, found in hosts.items() if found} == {}
