"""Check that the packages for vLLM, in this process or behind servers, are installed."""

import importlib.util

from calib.config.engine import VllmChoice
from calib.util.errors import CalibError

IN_PROCESS = (
    "engine=vllm needs vLLM and vllm-lens in this environment ({}). They conflict with calib's own "
    "versions: see docs/scale.md for an environment of their own, or give engine.base_url of a "
    "server."
)
CLIENT = (
    "A vLLM server needs the packages of the extra vllm: pip install 'calib[vllm]'. Or omit "
    "engine.base_url, to run vLLM in this process."
)


def require_packages(choice: VllmChoice) -> None:
    """Raise CalibError (needs-package) unless the packages are here; imports none of them."""
    if choice.urls:
        hooks = ["cloudpickle"] if choice.hooks else []
        if _missing("openai", "zstandard", *hooks):
            raise CalibError("needs-package", CLIENT)
    elif missing := _missing("vllm", "vllm_lens", "cloudpickle"):
        raise CalibError("needs-package", IN_PROCESS.format(f"missing: {', '.join(missing)}"))


def _missing(*names: str) -> list[str]:
    return [name for name in names if not _is_here(name)]


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a module that is blocked
        return False
