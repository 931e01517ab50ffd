"""Stages 2 to 4: train the whole model to answer, on packed sequences.

Several queries share a pass through the vision tower: a sequence is a prefix (system prompt,
demonstrations, picture) followed by branches (a query and its answer).

While the vision tower is frozen, the features of every scene are computed once, before the stage.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from experiments.mini_internvl.curriculum import Curriculum, PackedSequence
from experiments.mini_internvl.scenes import Gallery, Scene, pixels
from experiments.packing import IGNORED, Packed, answer_loss, pack

FEATURE_BATCH = 128  # pictures
NAME_SCALE = 16.0
"""Factor of cosines in the softmax over names."""


@dataclass(frozen=True)
class Batch(Packed):
    """Packed sequences, ready for the model."""

    pixels: torch.Tensor | None  # [images, 3, SIZE, SIZE]; None without pictures or with features
    features: torch.Tensor | None  # [images, tokens, channels] before the projector; or None
    names: torch.Tensor | None  # [images] int64: the token that names what each picture shows
    share: float = 1.0
    """Share of the answer tokens of the step, which its loss counts for."""


class LanguageTask:
    """Packs sequences into batches and computes their loss."""

    def __init__(self, model: torch.nn.Module, processor, gallery: Gallery) -> None:
        self.device = next(model.parameters()).device
        self.tokenizer, self.gallery = processor.tokenizer, gallery
        context = processor.image_token * processor.image_seq_length
        self.picture = f"{processor.start_image_token}{context}{processor.end_image_token}\n"
        self.image_token = processor.image_token_id
        self._cache: dict[str, list[int]] = {}
        self._features: dict[Scene, torch.Tensor] = {}

    def batch_maker(
        self, curriculum: Curriculum, stage: str, groups: int = 1
    ) -> Callable[[np.random.Generator, int], list[Batch]]:
        """The batch function of a stage: (rng, rows) -> batches of rows of similar length."""

        def draw(rng: np.random.Generator, rows: int) -> list[Batch]:
            sequences = [curriculum.sequence(stage, rng) for _ in range(rows)]
            if groups == 1:
                return [self.pack(sequences)]
            ordered = sorted(sequences, key=self.length)
            batches = [
                self.pack([ordered[int(i)] for i in part])
                for part in np.array_split(np.arange(rows), groups)
            ]
            counts = [int((batch.labels != IGNORED).sum()) for batch in batches]
            return [
                replace(batch, share=count / sum(counts))
                for batch, count in zip(batches, counts, strict=True)
            ]

        return draw

    @torch.no_grad()
    def keep_features(self, model: torch.nn.Module, scenes: list[Scene]) -> None:
        """Compute the features of all scenes, which batches contain from now on; [] to stop."""
        self._features = {}
        for start in range(0, len(scenes), FEATURE_BATCH):
            some = scenes[start : start + FEATURE_BATCH]
            images = torch.from_numpy(pixels(self.gallery.pictures(some))).to(self.device)
            found = unprojected_features(model, images).half().cpu()
            self._features |= dict(zip(some, found, strict=True))

    def tokens(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template, cached because pieces recur."""
        if text not in self._cache:
            self._cache[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self._cache[text]

    def prefix(self, sequence: PackedSequence) -> tuple[list[int], list[Scene]]:
        """Tokens and pictures shared by all branches of a sequence."""
        ids: list[int] = []
        scenes: list[Scene] = []
        if sequence.system:
            ids += self.tokens(f"<|im_start|>system\n{sequence.system}<|im_end|>\n")
        for turn in sequence.demonstrations:
            ids += self.user(turn.scene, scenes)
            ids += self.tokens(f"{turn.query}<|im_end|>\n<|im_start|>assistant\n")
            ids += self.tokens(f"{turn.response}<|im_end|>\n")
        return ids + self.user(sequence.scene, scenes), scenes

    def user(self, scene: Scene | None, scenes: list[Scene]) -> list[int]:
        """Tokens that open a user turn; its scene is appended to ``scenes``."""
        if scene is None:
            return self.tokens("<|im_start|>user\n")
        scenes.append(scene)
        return self.tokens("<|im_start|>user\n" + self.picture)

    def branch(self, query: str, answer: str) -> tuple[list[int], list[int]]:
        """Tokens of a query and of its answer."""
        asked = self.tokens(f"{query}<|im_end|>\n<|im_start|>assistant\n")
        return asked, self.tokens(f"{answer}<|im_end|>")

    def length(self, sequence: PackedSequence) -> int:
        """Number of tokens of a sequence."""
        parts = [self.branch(branch.query, branch.answer) for branch in sequence.branches]
        return len(self.prefix(sequence)[0]) + sum(len(q) + len(a) for q, a in parts)

    def pack(self, sequences: list[PackedSequence]) -> Batch:
        """A batch of sequences."""
        rows, scenes = [], []
        for sequence in sequences:
            prefix, shown = self.prefix(sequence)
            scenes += shown
            branches = [(*self.branch(b.query, b.answer), b.task) for b in sequence.branches]
            rows.append((prefix, branches))
        pixels, features = self._shown(scenes)
        names = torch.tensor([self.tokens(f" {s.name}")[-1] for s in scenes]) if scenes else None
        return Batch(**vars(pack(rows)), pixels=pixels, features=features, names=names)

    def _shown(self, scenes: list[Scene]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Pixels or kept features of the scenes."""
        if not scenes:
            return None, None
        if self._features:
            return None, torch.stack([self._features[scene] for scene in scenes]).float()
        return torch.from_numpy(pixels(self.gallery.pictures(scenes))), None

    def loss(
        self, model: torch.nn.Module, batch: Batch, name_weight: float = 0.0
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of answers and, times ``name_weight``, of names; and the share of correct
        answers by task."""
        loss, correct = answer_loss(batch, self.hidden(model, batch), model.lm_head)
        if name_weight and batch.features is not None:
            named, hits = self.name_loss(model, batch)
            loss, correct = loss + name_weight * named, {**correct, "projected": hits}
        return loss, correct

    def name_loss(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, float]:
        """Cross-entropy of the name of what a picture shows, by the cosine of the most similar of
        its projected features with the embedding of each token; and the share of right names.

        What the language model has learned about a word then applies to a picture of the thing.
        """
        projected = model.model.multi_modal_projector(batch.features.to(self.device))
        features = F.normalize(projected, dim=-1)  # [images, tokens, width]
        embeddings = F.normalize(model.get_input_embeddings().weight, dim=-1)  # [vocabulary, width]
        similarity = (features @ embeddings.T).amax(1)  # [images, vocabulary]
        names = batch.names.to(self.device)
        hits = (similarity.argmax(-1) == names).float().mean().item()
        return F.cross_entropy(NAME_SCALE * similarity, names), hits

    def hidden(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Last hidden states [rows, length, width], from pixels or from kept features."""
        tokens = batch.tokens.to(self.device)
        attention = {
            "position_ids": batch.positions.to(self.device),
            "attention_mask": batch.mask.to(self.device),
            "use_cache": False,
        }
        if batch.features is None:
            pixels = batch.pixels
            images = {} if pixels is None else {"pixel_values": pixels.to(self.device)}
            return model.model(input_ids=tokens, **attention, **images).last_hidden_state
        embedded = model.get_input_embeddings()(tokens)
        projected = model.model.multi_modal_projector(batch.features.to(self.device))
        shown = (tokens == self.image_token)[..., None]
        embedded = embedded.masked_scatter(shown, projected)
        language = model.model.language_model
        return language(inputs_embeds=embedded, **attention).last_hidden_state


def unprojected_features(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the projector reads: [images, tokens, channels], as InternVLModel.get_image_features."""
    patches = model.model.vision_tower(pixel_values=images).last_hidden_state[:, 1:]
    side = int(patches.shape[1] ** 0.5)
    grid = patches.reshape(len(images), side, side, -1)
    shuffled = model.model.pixel_shuffle(grid, scale_factor=model.config.downsample_ratio)
    return shuffled.reshape(len(images), -1, shuffled.shape[-1])
