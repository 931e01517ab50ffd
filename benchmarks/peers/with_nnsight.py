"""nnsight 0.8: edits values of a running model in the order in which they are computed.

Its way to batch settings, one ``invoke`` per setting in a single ``generate``, supports text only:
it cannot batch inputs with images.
"""

import warnings

import torch
from nnsight import TransformersModel

from benchmarks import naive
from benchmarks.cases import Case
from benchmarks.peers.ways import Inputs
from calib.config.choices import Positions
from calib.models.load import VLM


class Nnsight:
    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        processor = vlm.processor
        self.model = TransformersModel(
            vlm.model,
            task="image-text-to-text",
            processor=processor,
            tokenizer=processor.tokenizer,
            image_processor=processor.image_processor,
        )
        # Its documentation relies on a loop that ends with the generation, which causes a warning.
        warnings.filterwarnings("ignore", message=".*was never reached.*")

    def generate(
        self,
        inputs: Inputs,
        layer: int,
        added: torch.Tensor,
        positions: Positions,
        max_new_tokens: int,
    ) -> torch.Tensor:
        block = self.model.model.language_model.layers[layer]
        tokens = slice(None) if positions == "all" else slice(-1, None)
        with self.model.generate(max_new_tokens=max_new_tokens, do_sample=False) as tracer:
            with tracer.invoke(inputs):
                for _ in tracer.iter[:]:
                    block.output[:, tokens] += added
            with tracer.invoke():
                output = tracer.result.save()
        return output

    def invoke_by_invoke(self, case: Case) -> list[naive.Tokens]:
        """All settings in one batch, each as one ``invoke``."""
        inputs = naive.prepare(self.vlm, case.examples)
        tokens = slice(None)
        if case.settings[-1] is not None and case.settings[-1].positions != "all":
            tokens = slice(-1, None)
        layers = self.model.model.language_model.layers
        with self.model.generate(max_new_tokens=case.max_new_tokens, do_sample=False) as tracer:
            for setting in case.settings:
                with tracer.invoke(dict(inputs)):
                    if setting is not None:
                        for _ in tracer.iter[:]:
                            layers[setting.layer].output[:, tokens] += setting.vector
            with tracer.invoke():
                output = tracer.result.save()
        return naive.cut(self.vlm, output[:, inputs["input_ids"].shape[1] :])
