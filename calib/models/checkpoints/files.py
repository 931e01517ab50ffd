"""Faults of a checkpoint's folder that its files show: what is missing, cut off, or something else.

Only names, the first bytes and the headers of files are read.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from calib.util.content import first_bytes, found_instead, is_lfs_pointer
from calib.util.reading import file_bytes, parse_json

INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class CheckpointFiles:
    """The files of a checkpoint's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def config_fault(self) -> str | None:
        """What is wrong with config.json, or with any file that is not there yet; or None."""
        return self._pointers() or self._config()

    def weights_fault(self) -> str | None:
        """What is wrong with the weights, and the way out; None if they look complete."""
        return self._absent_weights() or self._absent_weight_files() or self._damaged()

    def processor_fault(self) -> str | None:
        """What is wrong with the processor's files, and the way out; or None."""
        if not self._names("preprocessor_config.json", "processor_config.json"):
            return (
                "it lacks preprocessor_config.json or processor_config.json. Copy all files of the "
                "processor from the model that it was trained from "
                "(AutoProcessor.from_pretrained(BASE).save_pretrained(FOLDER))."
            )
        for name in self._names("*processor_config.json", "tokenizer*.json"):
            if not isinstance(self._read(name), dict):
                return self._no_json(name)
        if not self._names("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken"):
            return "it lacks the tokenizer (tokenizer.json). Download all files of the tokenizer."
        return None

    def _names(self, *patterns: str) -> list[str]:
        found = [path for pattern in patterns for path in self.folder.glob(pattern)]
        return sorted({path.name for path in found if path.is_file()})

    def _pointers(self) -> str | None:
        for name in self._names("*.safetensors", "*.json", "*.model"):
            if is_lfs_pointer(first_bytes(self.folder / name)):
                return (
                    f"{name} is a pointer of Git LFS, not the content. Fetch it with git lfs "
                    "pull, or download the checkpoint again."
                )
        return None

    def _config(self) -> str | None:
        path = self.folder / "config.json"
        if path.exists():
            config = self._read(path.name)
            if not isinstance(config, dict):
                return self._no_json(path.name)
            if not config.get("model_type"):
                return (
                    "config.json names no model_type, so it is not in transformers format. Take a "
                    "checkpoint of the model in that format (often named -hf)."
                )
            return None
        inner = sorted(self.folder.glob("**/config.json"), key=lambda p: (len(p.parts), p))
        if inner:
            return (
                "it has no config.json, but a folder in it has: give "
                f"model.checkpoint={inner[0].parent}."
            )
        return self._gguf() or "the folder has no config.json. Download all of its files."

    def _gguf(self) -> str | None:
        if not (files := self._names("*.gguf")):
            return None
        return (
            f"it has GGUF weights only ({files[0]}), which are for llama.cpp. Take the safetensors "
            "checkpoint that they were made from."
        )

    def _absent_weights(self) -> str | None:
        if self._names("*.safetensors", INDEX):
            return None
        if pickled := self._names(*_PICKLED):
            return (
                f"it has pickled weights only ({pickled[0]}), which may run code when they are "
                "opened, so calib reads safetensors. Most repositories have them as well, some in "
                "a pull request (model.revision=refs/pr/N); or convert a file that you trust: "
                "load it with transformers and save_pretrained."
            )
        return self._gguf() or "the folder has no weights (*.safetensors). Download all files."

    def _absent_weight_files(self) -> str | None:
        present = self._names("*.safetensors")
        index = self._read(INDEX)
        if isinstance(index, dict) and isinstance(index.get("weight_map"), dict):
            named = sorted(set(map(str, index["weight_map"].values())))
            if absent := [name for name in named if name not in present]:
                return (
                    f"{len(absent)} of its {len(named)} files of weights are missing (first: "
                    f"{absent[0]}). Download the checkpoint again."
                )
        elif "model.safetensors" not in present and any("-of-" in name for name in present):
            return f"{INDEX} is missing, which says what is in {present[0]} and the others. " + (
                "Download it."
            )
        return None

    def _damaged(self) -> str | None:
        for name in self._names("*.safetensors"):
            path = self.folder / name
            try:
                with safe_open(path, "pt"):
                    pass
            except (OSError, SafetensorError) as error:
                kind = found_instead(first_bytes(path))
                what = kind or f"damaged, or cut off after {path.stat().st_size} bytes ({error})"
                return f"{name} is {what}. Download it again."
        return None

    def _read(self, name: str) -> Any:
        """The content of a JSON file; None if it is missing or broken."""
        try:
            return parse_json(file_bytes(self.folder / name))
        except (OSError, ValueError):
            return None

    def _no_json(self, name: str) -> str:
        kind = found_instead(first_bytes(self.folder / name))
        return f"{name} is {kind or 'no JSON with settings'}. Download it again."
