"""Hostile checkpoints of models: config.json, weights, tokenizer, processor and chat template."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hostile import Hostile, Place
from hostile_content import (
    ESCAPE,
    HUGE,
    LONG,
    NOT_JSON,
    Put,
    pickled,
    replace_file,
    special_files,
    writes,
)

from calib.config.model import ModelConfig
from calib.data.mini.examples import load as load_mini
from calib.models.load import load, mini_folder
from calib.models.tokens import prompt_tokens

LOOP = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
MESSAGES = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
TEMPLATES = {
    "a division by zero": "{{ 1 // 0 }}",
    "an included file": "{% include '/etc/passwd' %}",
    "an imported module": "{% import 'os' as o %}",
    "a loop without end": MESSAGES + LOOP,
    "a long range": "{% for a in range(1000000000) %}{% endfor %}",
    "a power": MESSAGES + "{{ 10 ** 10 ** 10 }}",
    "a power of a variable": "{% set a = 9 %}{% for m in messages %}{{ a ** a ** a }}{% endfor %}",
    "a long text": MESSAGES + "{{ 'x' * 20000000 }}",
    "a text beyond memory": MESSAGES + "{{ 'x' * 10000000000000 }}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "an absent message": "{{ messages[99].role.x }}",
    "classes of Python": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals of a function": "{{ cycler.__init__.__globals__.os.system('touch canary') }}",
    "attributes by a filter": "{{ (''|attr('__class__')).__mro__ }}",
    "a format that reads attributes": "{{ '{0.__class__}'.format(messages) }}",
    "a sum of messages": "{{ messages | sum }}",
    "a cut tag": "{% for",
    "nothing of the conversation": "Hello",
    "an escape sequence in its error": "{{ raise_exception('\x1b[31mred') }}",
    "a long error": "{{ raise_exception('x' * 100000) }}",
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "no text_config": {"text_config": None},
    "no vision_config": {"vision_config": None},
    "text_config as a list": {"text_config": [1]},
    "text_config as a text": {"text_config": "qwen2"},
    "an empty text_config": {"text_config": {}},
    "zero heads": {"text_config.num_attention_heads": 0},
    "a negative number of heads": {"text_config.num_attention_heads": -4},
    "zero heads of keys": {"text_config.num_key_value_heads": 0},
    "one layer": {"text_config.num_hidden_layers": 1},
    "no layers": {"text_config.num_hidden_layers": 0},
    "a negative number of layers": {"text_config.num_hidden_layers": -1},
    "10^9 layers": {"text_config.num_hidden_layers": 10**9},
    "10^9 layers of vision": {"vision_config.num_hidden_layers": 10**9},
    "fractional layers": {"text_config.num_hidden_layers": 2.5},
    "10^9 labels": {"num_labels": 10**9},
    "10^9 labels within": {"text_config.num_labels": 10**9},
    "an unknown dtype": {"dtype": "float7"},
    "a function as dtype": {"dtype": "load"},
    "a list as dtype": {"dtype": ["float32"]},
    "an unknown dtype within": {"text_config.dtype": "float7"},
    "a list as model_type": {"model_type": ["internvl"]},
    "an object as model_type": {"model_type": {"a": 1}},
    "no model_type": {"model_type": None},
    "an unknown model_type": {"model_type": ESCAPE},
    "a long model_type": {"model_type": LONG},
    "another model_type within": {"text_config.model_type": "gpt2"},
    "a width of 10^6": {"text_config.hidden_size": 10**6},
    "a width of 10^9": {"text_config.hidden_size": 10**9},
    "a width of 10^18": {"text_config.hidden_size": 10**18},
    "a width beyond numbers": {"text_config.hidden_size": HUGE},
    "a width of zero": {"text_config.hidden_size": 0},
    "an inner width of 10^9": {"text_config.intermediate_size": 10**9},
    "a vocabulary of 10^12": {"text_config.vocab_size": 10**12},
    "a vision width of 10^6": {"vision_config.hidden_size": 10**6},
    "pictures of 10^9": {"vision_config.image_size": [10**9, 10**9]},
    "patches of zero": {"vision_config.patch_size": [0, 0]},
    "a context of 10^15": {"text_config.max_position_embeddings": 10**15},
    "a context as a text": {"text_config.max_position_embeddings": ESCAPE},
    "an unknown activation": {"text_config.hidden_act": "__import__('os')"},
    "an unknown rope": {"text_config.rope_parameters": {"rope_type": "x"}},
    "a list as rope": {"text_config.rope_parameters": [1]},
    "unknown layer types": {"text_config.layer_types": ["x"] * 6},
    "code of its own": {"auto_map": {"AutoConfig": "c.Config", "AutoModel": "c.M"}},
    "a kernel as attention": {"_attn_implementation": "organisation/name"},
    "a list as quantization": {"quantization_config": [1]},
    "an unknown quantization": {"quantization_config": {"quant_method": ESCAPE}},
    "an infinite initializer": {"text_config.initializer_range": float("inf")},
    "a token of 10^18 for images": {"image_token_id": 10**18},
    "numbers as architectures": {"architectures": [1, None]},
}
_PROCESSOR: dict[str, dict[str, Any]] = {
    "pictures of 10^9": {"image_processor.size": {"height": 10**9, "width": 10**9}},
    "edges of 10^9": {"image_processor.size": {"longest_edge": 10**9, "shortest_edge": 10**9}},
    "sizes of zero": {"image_processor.size": {"height": 0, "width": 0}},
    "a negative size": {"image_processor.size": {"height": -5, "width": 5}},
    "a text as size": {"image_processor.size": ESCAPE},
    "no size": {"image_processor.size": {}},
    "10^9 tokens a picture": {"image_seq_length": 10**9},
    "-1 tokens a picture": {"image_seq_length": -1},
    "a text as tokens a picture": {"image_seq_length": "many"},
    "10^9 patches": {"image_processor.max_patches": 10**9},
    "an unknown resampling": {"image_processor.resample": 99},
    "no means": {"image_processor.image_mean": []},
    "an unknown image processor": {"image_processor.image_processor_type": ESCAPE},
    "a list as image processor": {"image_processor.image_processor_type": ["x"]},
    "a path as class": {"processor_class": "../../evil"},
    "code of its own": {"auto_map": {"AutoProcessor": "c.P"}},
    "a list as image processor's settings": {"image_processor": [1]},
}
_TOKENIZER: dict[str, dict[str, Any]] = {
    "a text as its longest input": {"model_max_length": ESCAPE},
    "another class": {"tokenizer_class": "os.system"},
    "a list as class": {"tokenizer_class": ["x"]},
    "code of its own": {"auto_map": {"AutoTokenizer": ["c.T", "c.T"]}},
    "added tokens of 10^18": {"added_tokens_decoder": {str(10**18): {"content": "x"}}},
    "a list as added tokens": {"added_tokens_decoder": [1]},
    "objects as special tokens": {"extra_special_tokens": [{"a": 1}]},
    "a number as template": {"chat_template": 5},
    "a number as padding token": {"pad_token": 5},
}


def linked_copy(source: Path, folder: Path) -> Path:
    """A copy of a checkpoint in a new folder, whose weights are links."""
    folder.mkdir()
    for file in source.iterdir():
        if file.suffix == ".safetensors":
            (folder / file.name).symlink_to(file)
        elif file.is_file():
            shutil.copyfile(file, folder / file.name)
    return folder


def checkpoint(place: Place) -> Path:
    """A copy of mini-internvl."""
    return linked_copy(mini_folder(), place.folder / "checkpoint")


def loaded(folder: Path, weights: bool = True, pictures: bool = False) -> Callable[[], Any]:
    """Load the checkpoint; with ``pictures``, prepare a prompt with one."""

    def call() -> None:
        vlm = load(ModelConfig("internvl", str(folder)), weights, "cpu")
        if pictures:
            example = next(e for e in load_mini(["image_centric"], 2) if e.picture)
            prompt_tokens(vlm, example)

    return call


def changed(path: Path, changes: Mapping[str, Any]) -> None:
    """Set dotted keys of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *groups, last = key.split(".")
        inner = content
        for group in groups:
            inner = inner[group]
        inner[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def with_changes(name: str, changes: Mapping[str, Any], **how: bool) -> Callable[[Place], Any]:
    def make(place: Place) -> Callable[[], Any]:
        folder = checkpoint(place)
        changed(folder / name, changes)
        return loaded(folder, **how)

    return make


def with_file(name: str, put: Put, **how: bool) -> Callable[[Place], Any]:
    def make(place: Place) -> Callable[[], Any]:
        folder = checkpoint(place)
        replace_file(folder / name, put)
        return loaded(folder, **how)

    return make


def weight_header(header: bytes, size: int | None = None, rest: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    return struct.pack("<Q", len(header) if size is None else size) + header + rest


_WEIGHTS = {
    "nothing": b"",
    "zeros": bytes(99),
    "a header of 2^63 bytes": weight_header(b"{}", 2**63),
    "a deep header": weight_header(b'{"a":' * 50_000),
    "a header that is a list": weight_header(b"[1]"),
    "a tensor beyond the file": weight_header(
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    ),
    "a tensor of negative size": weight_header(
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', rest=bytes(4)
    ),
    "an unknown type": weight_header(
        b'{"a":{"dtype":"X1","shape":[1],"data_offsets":[0,4]}}', rest=bytes(4)
    ),
    "a pickle": pickled("touch canary"),
}


def _index(names: Any) -> Callable[[Place], Any]:
    """A checkpoint whose index names files of weights."""

    def make(place: Place) -> Callable[[], Any]:
        folder = checkpoint(place)
        (folder / "model.safetensors").unlink()
        os.mkfifo(folder / "pipe.safetensors")
        text = json.dumps({"metadata": {}, "weight_map": names})
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
        return loaded(folder)

    return make


def _template(text: str, setting: bool) -> Callable[[Place], Any]:
    def make(place: Place) -> Callable[[], Any]:
        folder = checkpoint(place)
        file = place.folder / "own.jinja" if setting else folder / "chat_template.jinja"
        file.write_text(text, encoding="utf-8")
        own = str(file) if setting else None

        def call() -> None:
            config = ModelConfig("internvl", str(folder), chat_template=own)
            vlm = load(config, False, "cpu")
            prompt_tokens(vlm, load_mini(["text_centric"], 2)[0])

        return call

    return make


def checkpoints() -> list[Hostile]:
    """Every hostile checkpoint of a model."""
    known = {"harmless": True}
    inputs = [
        Hostile(f"config.json: {what}", with_file("config.json", writes(text)))
        for what, text in NOT_JSON.items()
    ]
    for name in ("tokenizer.json", "processor_config.json", "tokenizer_config.json"):
        inputs += [
            Hostile(f"{name}: {what}", with_file(name, writes(text), weights=False), **known)
            for what, text in list(NOT_JSON.items())[:14:2]
        ]
    for name in ("generation_config.json", "adapter_config.json", "preprocessor_config.json"):
        inputs += [
            Hostile(f"{name}: {what}", with_file(name, writes(text), weights=False), **known)
            for what, text in list(NOT_JSON.items())[2:12:3]
        ]
    inputs += [
        Hostile(f"config.json: {what}", with_changes("config.json", changes), **known)
        for what, changes in _SETTINGS.items()
    ]
    for name, damage in (("processor_config.json", _PROCESSOR),
                         ("tokenizer_config.json", _TOKENIZER)):  # fmt: skip
        inputs += [
            Hostile(
                f"{name}: {what}",
                with_changes(name, changes, weights=False, pictures=True),
                **known,
            )
            for what, changes in damage.items()
        ]
    for name in ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"):
        inputs += [
            Hostile(f"{name}: {what}", with_file(name, put))
            for what, put in special_files().items()
        ]
    inputs += [
        Hostile(f"model.safetensors: {what}", with_file("model.safetensors", writes(data)))
        for what, data in _WEIGHTS.items()
    ]
    inputs += [
        Hostile(f"index of weights: {what}", _index(names))
        for what, names in {
            "a list": [1], "paths": {"a": "../../../etc/passwd"},
            "a pipe": {"a": "pipe.safetensors"},
            "numbers": {"a": 5}, "a folder": {"a": "."}, "a long name": {"a": LONG},
            "a zero byte": {"a": "a\0b"},
        }.items()
    ]  # fmt: skip
    inputs += [
        Hostile(f"chat_template.jinja: {what}", _template(text, False), **known)
        for what, text in TEMPLATES.items()
    ]
    inputs += [
        Hostile(f"model.chat_template: {what}", _template(text, True))
        for what, text in list(TEMPLATES.items())[3:8]
    ]
    return inputs
