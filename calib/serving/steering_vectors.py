"""Arguments of vllm-lens in a request: steering vectors are checked, decoded and made into edits.

Clients of vllm-lens (a plugin for vLLM, version 1.3.0) put them into the field
``vllm_xargs.apply_steering_vectors``, as a list in a JSON text. What the plugin ignores is refused
here: layers that the model lacks, positions of a vector for all tokens, positions without a vector.
So are positions in the response, and hooks: nothing pickled is ever loaded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from calib.engine.edits import Edit, Edits
from calib.engine.operators import Add, AddByNorm, Operator
from calib.engine.vllm.server.tensors import decode_tensor
from calib.models.prompt_batch import PromptToken
from calib.serving.api_errors import APIError
from calib.serving.schema import ClosedSchema, FiniteNumber, Index, load_json
from calib.util.errors import CalibError

FIELD = "vllm_xargs.apply_steering_vectors"
RESIDUAL = "vllm_xargs.output_residual_stream"
MAX_EDITS = 512
"""Maximum number of edits that the vectors of a request make: one per layer, or one per layer and
position. Each is a pass over the activations of its batch."""
MAX_DECODED_BYTES = 64 << 20
"""Maximum size of a request's vectors in float32, far above what models need: zstd can compress
zeros by a factor of 10,000, so the size of a body says little."""
MAX_ACTIVATION_BYTES = 64 << 20
"""Maximum size of the activations that a request may ask for."""
NORM_EPSILON = 1e-6
"""Added by vllm-lens to the length of a vector with ``norm_match``."""
HOOKS_REFUSED = (
    "hooks are pickled code. This server never loads it, because whoever sends it could run "
    "anything here. Use a vLLM server of your own, or steering vectors."
)
UNSUPPORTED = {
    "apply_hooks": HOOKS_REFUSED,
    "output_qk": "this server returns no queries and keys of attention heads. Omit it.",
    "activations_transport": "activations are part of the response. Omit it.",
}
"""Fields of ``vllm_xargs`` that vllm-lens has and this server does not, with the reason."""


class EncodedTensor(ClosedSchema):
    """A tensor in the format of ``calib.engine.vllm.server.tensors``."""

    data: str
    shape: list[Index]
    dtype: str
    original_dtype: str | None = None
    compression: str | None = None

    @property
    def values(self) -> int:
        """Number of values that the shape declares."""
        return math.prod(self.shape)


class SteeringVector(ClosedSchema):
    """One vector for each of some layers, or one for each layer and position."""

    activations: EncodedTensor
    """# [layers, width] for all tokens, or [layers, positions, width]"""
    layer_indices: list[Index]
    """0-based decoder blocks whose output is changed."""
    scale: FiniteNumber = 1.0
    """Factor of the vectors."""
    norm_match: bool = False
    """Whether each token gets the vector at the length of its own activation, times ``scale``."""
    position_indices: list[Index] | None = None
    """Prompt tokens, counted from 0 after images were expanded; None is the first ones."""


def _from_text(value: Any) -> Any:
    """The list in a JSON text, which is how clients send it; a list is returned as it is."""
    if not isinstance(value, str):
        return value
    return load_json(value.encode(errors="replace"), FIELD, FIELD)


def _layers(value: Any) -> Any:
    """A list of layers, or whether to return all of them; also in a JSON text."""
    if isinstance(value, str):
        value = load_json(value.encode(errors="replace"), RESIDUAL, RESIDUAL)
    numbers = value if isinstance(value, list) else []
    if not isinstance(value, bool | list) or any(type(number) is not int for number in numbers):
        raise PydanticCustomError("invalid_type", "must be a list of layers, or true for all")
    return value


class VllmArguments(ClosedSchema):
    """The field ``vllm_xargs`` of a request: arguments of vllm-lens."""

    apply_steering_vectors: Annotated[list[SteeringVector], BeforeValidator(_from_text)] = []
    """Vectors to add while the model reads the prompt and responds, in this order."""
    output_residual_stream: Annotated[list[int] | bool, PlainValidator(_layers)] = False
    """Layers whose residual stream is returned, or true for all."""
    skip_reading_prefix_cache: bool | int | str = True
    """No effect: no request reads keys and values of an earlier one."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        for name, reason in UNSUPPORTED.items():
            if fields.get(name) is not None:
                param = f"vllm_xargs.{name}"
                raise APIError(f"{param} is not supported: {reason}", param, "unsupported_value")
        return {name: value for name, value in fields.items() if name not in UNSUPPORTED}

    def residual_layers(self, layers: int) -> tuple[int, ...]:
        """The layers whose residual stream is returned, in ascending order as in the plugin.

        Raises APIError for a layer that a model of this many layers lacks.
        """
        wanted = self.output_residual_stream
        if isinstance(wanted, bool):
            return tuple(range(layers)) if wanted else ()
        for layer in wanted:
            if not 0 <= layer < layers:
                raise APIError(
                    f"{RESIDUAL} has layer {layer}, but this model has the layers 0 to "
                    f"{layers - 1}.",
                    RESIDUAL,
                    "invalid_value",
                )
        return tuple(sorted(set(wanted)))


@dataclass(frozen=True)
class DecodedVector:
    """A steering vector whose tensor is decoded."""

    vectors: torch.Tensor
    """Scaled, except with ``norm_match``. # [layers, width] or [layers, positions, width] float32
    """
    layers: tuple[int, ...]
    positions: tuple[int, ...] | None
    """Prompt tokens, counted from 0; None is all tokens of prompt and response."""
    scale: float
    norm_match: bool

    def edits(self, prompt_length: int) -> Edits:
        """The edits of a prompt with this many tokens."""
        edits = []
        for layer, vectors in zip(self.layers, self.vectors, strict=True):
            if self.positions is None:
                edits.append(Edit(layer, self._operator(vectors), "all"))
                continue
            for position, vector in zip(self.positions, vectors, strict=True):
                token = PromptToken(prompt_length - position)
                edits.append(Edit(layer, self._operator(vector), token))
        return tuple(edits)

    def _operator(self, vector: torch.Tensor) -> Operator:
        if not self.norm_match:
            return Add(vector)
        return AddByNorm(vector / (vector.norm() + NORM_EPSILON), self.scale)


@dataclass(frozen=True)
class Steering:
    """The steering vectors of a request."""

    vectors: tuple[DecodedVector, ...] = ()

    @property
    def has_positions(self) -> bool:
        """Whether a vector is for single tokens of the prompt."""
        return any(vector.positions is not None for vector in self.vectors)

    def edits(self, prompt_length: int) -> Edits:
        """The edits of a prompt with this many tokens, in the order of the vectors.

        Raises APIError for a position that the prompt does not have.
        """
        for number, vector in enumerate(self.vectors):
            last = max(vector.positions or (0,))
            if last >= prompt_length:
                raise _error(
                    number,
                    "position_indices",
                    f"has position {last}, but the prompt has {prompt_length} tokens, counted from "
                    "0; tokens of the response cannot be chosen. Without position_indices, the "
                    "vectors are those of the first tokens.",
                )
        # A vector times 0 changes nothing: such a request is answered like one without it.
        steered = (vector for vector in self.vectors if vector.scale != 0)
        return tuple(edit for vector in steered for edit in vector.edits(prompt_length))


def decoded_size(vectors: Sequence[SteeringVector], layers: int, width: int) -> int:
    """Bytes that the decoded vectors take.

    Raises APIError for vectors that do not fit a model of this many layers and this width, for
    positions that do not fit their vectors, and for more than the limits allow. Tensors are not
    decoded yet.
    """
    edits = size = 0
    for number, vector in enumerate(vectors):
        _check_shape(number, vector, width)
        _check_layers(number, vector, layers)
        _check_positions(number, vector)
        edits += vector.activations.values // width
        size += 4 * vector.activations.values
    if edits > MAX_EDITS:
        raise APIError(
            f"{FIELD} has {edits:,} vectors, counting each layer and position; the maximum is "
            f"{MAX_EDITS}. Choose fewer layers or positions.",
            FIELD,
            "too_many_vectors",
        )
    if size > MAX_DECODED_BYTES:
        raise APIError(
            f"{FIELD} has {size >> 20} MiB of vectors; the maximum is {MAX_DECODED_BYTES >> 20}.",
            FIELD,
            "too_many_vectors",
        )
    return size


def _check_shape(number: int, vector: SteeringVector, width: int) -> None:
    shape = vector.activations.shape
    if len(shape) not in (2, 3):
        reason = f"has {len(shape)} dimensions. Give [layers, width] or [layers, positions, width]."
    elif shape[-1] != width:
        reason = f"ends with {shape[-1]}, but the residual stream of this model has width {width}."
    elif 0 in shape:
        reason = f"is {shape}, which has no vectors."
    elif shape[0] != len(vector.layer_indices):
        reason = f"has {shape[0]} layers, but layer_indices has {len(vector.layer_indices)}."
    else:
        return
    raise _error(number, "activations.shape", reason)


def _check_layers(number: int, vector: SteeringVector, layers: int) -> None:
    last = max(vector.layer_indices)
    if last >= layers:
        reason = f"has layer {last}, but this model has the layers 0 to {layers - 1}."
    elif len(set(vector.layer_indices)) < len(vector.layer_indices):
        reason = "has a layer twice. Use a second steering vector for the second time."
    else:
        return
    raise _error(number, "layer_indices", reason)


def _check_positions(number: int, vector: SteeringVector) -> None:
    positions, shape = vector.position_indices, vector.activations.shape
    if positions is None:
        return
    if len(shape) == 2:
        reason = (
            "is given, but activations of the shape [layers, width] are for all tokens. Give "
            "activations of the shape [layers, positions, width]."
        )
    elif len(positions) != shape[1]:
        reason = f"has {len(positions)} positions, but activations has {shape[1]}."
    else:
        return
    raise _error(number, "position_indices", reason)


def decode_vectors(vectors: Sequence[SteeringVector]) -> Steering:
    """Decode vectors that ``decoded_size`` has accepted.

    Raises APIError for tensors of an unknown format, of another size than their shape, or with
    values that are not finite.
    """
    return Steering(tuple(_decoded(number, vector) for number, vector in enumerate(vectors)))


def _decoded(number: int, vector: SteeringVector) -> DecodedVector:
    try:
        tensor = decode_tensor(**vector.activations.model_dump()).float()
    except CalibError as error:
        code = "unsupported_value" if error.code == "unsupported" else "invalid_tensor"
        raise _error(number, "activations", str(error), code) from error
    if not tensor.isfinite().all():
        raise _error(number, "activations", "has values that are not finite.", "not_finite")
    if not vector.norm_match:
        tensor = tensor * vector.scale
        if not tensor.isfinite().all():
            raise _error(number, "scale", "makes vectors that are not finite.", "not_finite")
    positions = vector.position_indices
    if positions is None and tensor.dim() == 3:
        positions = list(range(tensor.shape[1]))
    return DecodedVector(
        tensor,
        tuple(vector.layer_indices),
        None if positions is None else tuple(positions),
        vector.scale,
        vector.norm_match,
    )


def _error(number: int, field: str, reason: str, code: str = "invalid_value") -> APIError:
    param = f"{FIELD}.{number}.{field}"
    return APIError(f"{param} {reason}", param, code)
