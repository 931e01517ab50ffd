"""Control vectors in GGUF, as llama.cpp, repeng and EasySteer read them.

One float32 vector ``direction.N`` per layer, N the 0-based block after whose residual sum it is
added, at every token: calib's own numbering. Vectors are those of strength 1, so that the other
program's scale is calib's strength.
"""

import re
from pathlib import Path

import torch

from calib.directions.direction import Direction
from calib.errors import CalibError
from calib.interchange.gguf_file import read_gguf, write_gguf
from calib.interchange.vectors import bytes_of

_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,8})")


def control_vector(direction: Direction, name: str) -> bytes:
    """The file for one of ``gguf``, ``repeng`` and ``easysteer``; ``direction`` is expressible.

    Keys of calib's own say what the vectors mean; all three readers pass them over. The hint is the
    checkpoint: no reader compares it with the model it runs.
    """
    keys: dict[str, str | int] = {
        "general.architecture": "controlvector",
        "controlvector.model_hint": direction.checkpoint,
        "controlvector.layer_count": len(direction.layers),
    }
    if name == "easysteer":
        keys["controlvector.method"] = direction.estimator
    keys |= {
        "calib.operator": "add",
        "calib.site": "residual",
        "calib.layer": "0-based decoder block, its output",
        "calib.strength": f"{direction.strength:g}",
        "calib.fingerprint": direction.fingerprint,
    }
    return write_gguf(keys, {f"direction.{n}": direction.at(n, 1.0) for n in direction.layers})


def read_control_vector(path: Path) -> dict[int, torch.Tensor]:
    """The vectors of a file of llama.cpp, repeng or EasySteer, by layer.  # [width] float32

    Raises CalibError when the file cannot be read, or holds tensors that are no directions.
    """
    _, tensors = read_gguf(bytes_of(path), str(path))
    found = {}
    for name, vector in tensors.items():
        number = _NAME.fullmatch(name)
        if number is None:
            raise CalibError(
                f"'{path}' holds '{name}', and a control vector only has tensors named direction.N."
            )
        found[int(number[1])] = vector
    return found
