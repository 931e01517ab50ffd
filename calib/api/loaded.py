"""A loaded model that answers, and whose activations are read."""

import numbers
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch

from calib.api.answering import respond
from calib.api.queries import Query, Shown, as_examples
from calib.api.steering import require_direction
from calib.config.checks import one_of, read_positions
from calib.config.choices import SITES, Site
from calib.config.model import MINI, ModelConfig, default_length
from calib.config.sweep import GenerationConfig
from calib.config.typed import typed_config
from calib.directions.direction import Direction
from calib.directions.fit import require_match
from calib.directions.projections import project
from calib.engine.activations import read_activations
from calib.engine.edits import Edits
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.intervention import NO_INTERVENTION, Intervention
from calib.models.load import VLM
from calib.util.errors import CalibError
from calib.util.names_elsewhere import OF_A_MODEL, no_attribute


class LoadedModel:
    """A loaded model, which answers under its edits and is read without them."""

    def __init__(self, vlm: VLM, config: ModelConfig | None = None) -> None:
        self.vlm = vlm
        """The model, its processor and the fingerprint of its weights."""
        own = None if vlm.checkpoint == MINI else vlm.checkpoint
        self.config = config or ModelConfig(vlm.name, own, vlm.revision)
        """The settings that it was loaded with, as a run records them."""
        self._intervention: Intervention = NO_INTERVENTION
        self._edits: list[Edits] = []
        self._engines: dict[Decoding, Engine] = {}

    def __repr__(self) -> str:
        edited = f", {sum(map(len, self._blocks()))} edits" if self._blocks() else ""
        return f"<{self.vlm.checkpoint}: {self.vlm.num_layers} layers of {self.vlm.width}{edited}>"

    if not TYPE_CHECKING:  # type checkers know all names

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(no_attribute("a Model", name, dir(type(self)), OF_A_MODEL))

    def generate(self, query: Query, picture: Shown = None, **settings: Any) -> str:
        """The response to a query about a picture (an image or the path of a file), or several.

        ``settings`` and errors are those of generate_all.
        """
        return self.generate_all([query], [picture], **settings)[0]

    def generate_all(
        self,
        queries: Sequence[Query],
        pictures: Sequence[Shown] | None = None,
        *,
        system: str | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """The responses to several queries, generated in batches.

        An Example has its own pictures and system prompt; ``pictures`` and ``system`` are for the
        other queries, and an entry of ``pictures`` is a picture or a list of several.
        ``max_new_tokens`` of None is 32 for mini-internvl and 256 for other models. Raises
        CalibError when a query or a picture is of another kind or cannot be read, or when there are
        not as many pictures as queries (mismatch).
        """
        examples = as_examples(queries, pictures, system)
        given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
        settings = typed_config([GenerationConfig], given, what="generate")
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
            raise CalibError("invalid-setting", f"seed: {seed!r:.80} is not a whole number.")
        settings = settings.with_length(default_length(self.config))
        decoding = Decoding.of(settings, seed=int(seed), kl=False)
        if decoding not in self._engines:  # a new one compares its first rows with plain generate
            self._engines.clear()
            self._engines[decoding] = Engine(self.vlm, decoding)
        edits = tuple(edit for block in self._blocks() for edit in block)
        return respond(self._engines[decoding], self._intervention, edits, examples)

    def _blocks(self) -> list[Edits]:
        """The edits that are made, in their order."""
        return self._edits

    def read(
        self,
        examples: Sequence[Query],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Unedited activations of every decoder block that has the site.

        # [examples, layers, width] float32, CPU
        """
        read_positions("positions", positions)
        one_of("site", site, SITES)
        return read_activations(
            self.vlm, as_examples(examples, what="examples"), positions, site=cast(Site, site)
        )

    def project(self, direction: Direction, examples: Sequence[Query]) -> torch.Tensor:
        """Projections of unedited activations on the direction at each of its layers, in gaps: the
        class means are at -0.5 and 0.5. # [examples, layers of the direction] float64

        Raises CalibError when the direction was read from another model (mismatch), and for
        arguments of another kind (invalid-value).
        """
        require_direction(direction)
        warn(require_match(direction, self.vlm, ""))
        activations = read_activations(
            self.vlm,
            as_examples(examples, what="examples"),
            direction.read_positions,
            layers=direction.layers,
            site=cast(Site, direction.site),
        )
        return project(direction, activations)


def warn(notes: Sequence[str]) -> None:
    """Give each note as a warning about the line that called the library."""
    for note in notes:
        warnings.warn(note, stacklevel=3)
