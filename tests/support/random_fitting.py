"""A Fitting whose activations are random, to compare a method with formulas on any numbers."""

import hashlib

import torch

from calib.interventions.fitting import Fitting


class RandomFitting(Fitting):
    """Activations depend on the prompt, the positions, the site and the layer, and on nothing else.

    They have a large common part, as those of models do.
    """

    def activations(self, examples, layers, positions="last_prompt", site="residual"):
        return torch.stack(
            [
                torch.stack([self._draw(example, layer, positions, site) for layer in layers])
                for example in examples
            ]
        )

    def _draw(self, example, layer, positions, site):
        picture = example.picture and example.picture().tobytes()
        key = (example.system, example.query, picture, example.response_prefix, positions, site)
        width = self.vlm.model.config.get_text_config(decoder=True).hidden_size

        def drawn(text):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])
            return torch.randn(width, generator=torch.Generator().manual_seed(seed))

        return 3 * drawn(f"common {layer} {site}") + drawn(f"{key} {layer}")
