"""llama.cpp through the C functions in the xllamacpp package.

A tiny text model is written for it. Control vectors are read by its own GGUF reader under the rules
of its own loader (only tensors direction.N, N from 1, float32, one dimension).
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch

_PARAMETERS = 1024
"""Bytes: more than the size of llama.cpp's structs of settings, which are passed on unread."""


class _Opaque(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_byte * _PARAMETERS)]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


class _ReadParameters(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.POINTER(ctypes.c_void_p))]


_QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
_SIGNATURES = {
    "llama_model_default_params": (_Opaque, []),
    "llama_context_default_params": (_Opaque, []),
    "llama_model_load_from_file": (ctypes.c_void_p, [ctypes.c_char_p, _Opaque]),
    "llama_init_from_model": (ctypes.c_void_p, [ctypes.c_void_p, _Opaque]),
    "llama_decode": (ctypes.c_int32, [ctypes.c_void_p, _Batch]),
    "llama_get_logits_ith": (
        ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p, ctypes.c_int32]
    ),
    "llama_set_adapter_cvec": (
        ctypes.c_int32,
        [ctypes.c_void_p, ctypes.POINTER(ctypes.c_float), ctypes.c_size_t]
        + [ctypes.c_int32] * 3,
    ),
    "llama_free": (None, [ctypes.c_void_p]),
    "llama_model_free": (None, [ctypes.c_void_p]),
    "llama_log_set": (None, [ctypes.c_void_p, ctypes.c_void_p]),
    "gguf_init_from_file": (ctypes.c_void_p, [ctypes.c_char_p, _ReadParameters]),
    "gguf_get_n_tensors": (ctypes.c_int64, [ctypes.c_void_p]),
    "gguf_get_tensor_name": (ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int64]),
    "gguf_get_tensor_type": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int64]),
    "gguf_free": (None, [ctypes.c_void_p]),
    "ggml_get_tensor": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "ggml_n_dims": (ctypes.c_int, [ctypes.c_void_p]),
    "ggml_nelements": (ctypes.c_int64, [ctypes.c_void_p]),
    "ggml_get_data_f32": (ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p]),
    "ggml_free": (None, [ctypes.c_void_p]),
}  # fmt: skip


def library() -> Any:
    """The library with the signatures of its functions."""
    import xllamacpp

    lib = ctypes.CDLL(str(next(Path(xllamacpp.__path__[0]).glob("*.so"))))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.llama_log_set(ctypes.cast(_QUIET, ctypes.c_void_p), None)
    return lib


def read_control_vector(lib: Any, path: Path) -> dict[int, np.ndarray] | None:
    """Vectors by N as llama.cpp's loader reads them from a file; None if it rejects the file."""
    tensors = ctypes.c_void_p()
    file = lib.gguf_init_from_file(
        str(path).encode(), _ReadParameters(False, ctypes.pointer(tensors))
    )
    if not file:
        return None
    vectors = {}
    for i in range(lib.gguf_get_n_tensors(file)):
        name = lib.gguf_get_tensor_name(file, i)
        kind, _, number = name.decode().partition(".")
        tensor = lib.ggml_get_tensor(tensors, name)
        numbered = kind == "direction" and number.isdigit() and int(number) >= 1
        if not numbered or lib.gguf_get_tensor_type(file, i) != 0 or lib.ggml_n_dims(tensor) != 1:
            return None
        length = lib.ggml_nelements(tensor)
        vectors[int(number)] = np.ctypeslib.as_array(
            lib.ggml_get_data_f32(tensor), shape=(length,)
        ).copy()
    lib.gguf_free(file)
    lib.ggml_free(tensors)
    return vectors or None


def write_qwen2(path: Path, decoder: Any, head: torch.Tensor) -> None:
    """Write a Qwen2 decoder of transformers and its head [vocabulary, width] as a model file."""
    import gguf

    config = decoder.config
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(len(head))
    writer.add_tokenizer_model("no_vocab")
    tensors = {
        "token_embd.weight": decoder.embed_tokens.weight,
        "output_norm.weight": decoder.norm.weight,
        "output.weight": head,
    }
    for i, layer in enumerate(decoder.layers):
        attention, mlp = layer.self_attn, layer.mlp
        parts = {
            "attn_norm": layer.input_layernorm, "ffn_norm": layer.post_attention_layernorm,
            "attn_q": attention.q_proj, "attn_k": attention.k_proj, "attn_v": attention.v_proj,
            "attn_output": attention.o_proj, "ffn_gate": mlp.gate_proj, "ffn_up": mlp.up_proj,
            "ffn_down": mlp.down_proj,
        }  # fmt: skip
        for name, module in parts.items():
            tensors[f"blk.{i}.{name}.weight"] = module.weight
            if getattr(module, "bias", None) is not None:
                tensors[f"blk.{i}.{name}.bias"] = module.bias
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.detach().float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(
    lib: Any,
    path: Path,
    vocabulary: int,
    tokens: list[int],
    vectors: dict[int, np.ndarray],
    scale: float,
) -> np.ndarray:
    """Logits of every token with ``scale`` times the vectors added, as its command line does it.

    # [tokens, vocabulary]
    """
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    assert model
    context = lib.llama_init_from_model(model, lib.llama_context_default_params())
    assert context
    if vectors:
        width = len(next(iter(vectors.values())))
        packed = np.zeros((max(vectors), width), dtype=np.float32)  # begins at layer 1
        for layer, vector in vectors.items():
            packed[layer - 1] = scale * vector
        data = packed.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        assert lib.llama_set_adapter_cvec(context, data, packed.size, width, 1, 512) == 0
    n = len(tokens)
    sequence = (ctypes.c_int32 * 1)(0)
    batch = _Batch(
        n,
        (ctypes.c_int32 * n)(*tokens),
        None,
        (ctypes.c_int32 * n)(*range(n)),
        (ctypes.c_int32 * n)(*[1] * n),
        (ctypes.POINTER(ctypes.c_int32) * n)(
            *[ctypes.cast(sequence, ctypes.POINTER(ctypes.c_int32))] * n
        ),
        (ctypes.c_int8 * n)(*[1] * n),
    )
    assert lib.llama_decode(context, batch) == 0
    rows = [
        np.ctypeslib.as_array(lib.llama_get_logits_ith(context, i), shape=(vocabulary,)).copy()
        for i in range(n)
    ]
    lib.llama_free(context)
    lib.llama_model_free(model)
    return np.stack(rows)
