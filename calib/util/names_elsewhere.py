"""What calib has in place of names that people know from repeng, TransformerLens and transformers.

An AttributeError for such a name says so; it stays an AttributeError, as hasattr expects.
"""

from collections.abc import Iterable

from calib.util.errors import did_you_mean

OF_CALIB = {
    "ControlVector": "calib.fit(vlm, positive, negative) fits a direction",
    "ControlModel": "calib.load(name) or calib.wrap(model, processor) gives a model to steer",
    "HookedTransformer": "calib.load(name) or calib.wrap(model, processor) gives a model to steer",
    "DatasetEntry": "calib.fit takes two lists of texts",
    "train": "calib.fit(vlm, positive, negative) fits a direction",
    "from_pretrained": "calib.load(name) loads a model",
    "steer": "it is a method of a model: vlm.steer(direction, strength)",
    "generate": "it is a method of a model: vlm.generate(query, picture)",
    "project": "it is a method of a model: vlm.project(direction, queries)",
    "calibrated": "it is a method of a model: vlm.calibrated(method, pairs)",
    "sweep": "it is a method of a model: vlm.sweep(methods, data)",
}
"""What to use in place of a name of another library, or of a method, as a function of calib."""
OF_A_MODEL = {
    "set_control": "'with vlm.steer(direction, strength):' steers, and the block's end resets it",
    "reset": "'with vlm.steer(direction, strength):' steers, and the block's end resets it",
    "run_with_cache": "vlm.read(queries) returns activations",
    "to_tokens": "vlm.vlm.processor is the processor of transformers",
    "tokenizer": "vlm.vlm.processor.tokenizer is the tokenizer of transformers",
    "processor": "vlm.vlm.processor is the processor of transformers",
    "model": "vlm.vlm.model is the model of transformers",
    "forward": "vlm.vlm.model is the model of transformers",
    "hooks": "'with vlm.steer(direction, strength):' edits activations",
    "add_hook": "'with vlm.steer(direction, strength):' edits activations",
    "run_with_hooks": "'with vlm.steer(direction, strength):' edits activations",
    "cfg": "vlm.vlm.num_layers and vlm.vlm.width are its sizes",
    "n_layers": "vlm.vlm.num_layers is the number of layers",
    "num_layers": "vlm.vlm.num_layers is the number of layers",
    "to": "calib.load(name, device_map='cuda') chooses the device",
    "cuda": "calib.load(name, device_map='cuda') chooses the device",
    "ablate": "vlm.steer(direction, 1, operator='ablate') or vlm.calibrated('ablate', pairs)",
}
"""What to use in place of a method or an attribute of another library's model."""


def no_attribute(owner: str, name: str, here: Iterable[str], known: dict[str, str]) -> str:
    """The message of an AttributeError: ``owner`` has no ``name``, and what it has instead.

    ``here`` are its public names, and ``known`` is one of the tables above.
    """
    message = f"{owner} has no attribute '{name}'."
    if name in known:
        return f"{message} In calib, {known[name]}."
    return message + did_you_mean(name, [each for each in here if not each.startswith("_")])
