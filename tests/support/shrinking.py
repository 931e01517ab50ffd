"""Configurations cut to a few examples, one layer, one strength and this machine.

shrink(config, endpoint.url)
"""

from pathlib import Path

from benchmark_copies import local

from calib.config.judge import ClassifierJudge, LabelRule, LlmJudge
from calib.config.model import ModelConfig
from calib.config.prompts import NoneMethod
from calib.config.sweep import ExtractConfig
from calib.data.mini.worlds import MINI_WORLDS

EXAMPLES, QUESTIONS, TOKENS = 16, 3, 12
"""Enough for mini-internvl to refuse some examples and to answer others."""


def shrink(config, url):
    """Cut a configuration, so that its command takes about a second and needs no network.

    ``url`` is the address of a chat endpoint.
    """
    parts = vars(config)
    for name, value in REPLACED.items():
        if name in parts:
            setattr(config, name, value)
    for name, cut in CUTS.items():
        if name in parts:
            setattr(config, name, cut(parts[name], url))
    for method in methods(config):
        method.strengths = [min(filter(None, method.strengths), key=abs)]
        if hasattr(method, "layers"):
            method.layers = one_layer(method.layers)
        if hasattr(method, "samples") and config.data.name not in MINI_WORLDS:
            method.samples = "safety"  # mini-internvl does not recognise pictures of other data
    if isinstance(config, ExtractConfig):
        config.layers = one_layer(config.layers)


def shrink_model(model, url):
    """mini-internvl for every model with weights; other families are tested in tests/commands."""
    if isinstance(model, ModelConfig):
        return ModelConfig("internvl")
    model.base_url = url
    return model


def shrink_judge(judge, url):
    if isinstance(judge, LlmJudge):
        judge.base_url = url
    if isinstance(judge, ClassifierJudge):
        judge.checkpoint = f"judges/{judge.name}"
        if judge.name == "qwen3guard":  # with random weights it never writes a label
            judge.labels = [LabelRule(".", "answer")]
    return judge


def shrink_data(data, _):
    data.limit = EXAMPLES
    if data.name in MINI_WORLDS:
        data.parts = data.parts[:1]
        data.split_by = "pair"  # so few concepts may leave a side of a contrast empty
    if getattr(data, "root", None) in ("FOLDER", "PATH"):
        data.root = str(local(data.name, Path("benchmarks", data.name)))
    if data.name == "dualbench":
        data.per_category, data.size = 2, 200
    if data.name in ("dualbench", "mossbench"):  # few examples, and no train split in mossbench
        data.validation = 0.5
    return data


def shrink_utility(utility, _):
    if hasattr(utility, "limit"):
        utility.limit = QUESTIONS
    if getattr(utility, "root", None) == "FOLDER":
        utility.root = f"utility/{utility.name}"
    return utility


def shrink_generation(generation, _):
    generation.max_new_tokens = TOKENS
    return generation


REPLACED = {
    "reference": NoneMethod(),
    "max_new_tokens": TOKENS,
    "port": 0,
    "skeleton": "skeleton",
}
"""Settings of commands, and their values in tests."""
CUTS = {
    "model": shrink_model,
    "judge": shrink_judge,
    "data": shrink_data,
    "utility": shrink_utility,
    "generation": shrink_generation,
}
"""Groups of settings, and the functions that cut them."""


def methods(config):
    """The methods of a sweep that have strengths; of all 22, one per kind of intervention."""
    if len(getattr(config, "methods", {})) > 10:
        kinds = ("few_shot", "steer", "vlm_guard")
        config.methods = {name: config.methods[name] for name in kinds}
    chosen = [getattr(config, "method", None), *getattr(config, "methods", {}).values()]
    chosen += [getattr(method, "activation", None) for method in chosen]
    return [method for method in chosen if hasattr(method, "strengths")]


def one_layer(layers):
    """One layer, of those that a setting names; auto stays."""
    if isinstance(layers, str):
        return layers if layers == "auto" else [3]
    return [layers] if isinstance(layers, int) else layers[:1]
