"""SmolLM2 and our parts of smolvlm_emoji with tiny random weights."""

import functools
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from calib.models.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from experiments.smolvlm_emoji.alignment import Parts
from experiments.smolvlm_emoji.sentences import NAME_ANSWERS, NAME_QUESTIONS
from experiments.smolvlm_emoji.text import PAD, RESERVED, with_image_token

WIDTH = 32
STAGES = [[3, 1, 1, 4, 1], *([3, 2, 2, 4, 1] for _ in range(4)), [3, 1, 2, 6, 1]]
TOWER = {"stem_channels": 4, "stages": STAGES, "hidden_size": 8}


def tiny_tower() -> EfficientNetLite:
    """A tower with 49 tokens of 8 channels."""
    torch.manual_seed(0)
    tower = EfficientNetLite(EfficientNetLiteConfig(**TOWER)).eval()
    for name, weight in tower.named_parameters():
        # So large that different pictures have different tokens.
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight)
        else:
            nn.init.constant_(weight, 0.5)
    return tower


def tiny_text() -> tuple[Any, PreTrainedTokenizerFast]:
    """A language model of Llama's class and its tokenizer with an image token."""
    torch.manual_seed(0)
    tokenizer = with_image_token(_tokenizer())
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
        initializer_range=0.25, max_position_embeddings=512,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False), tokenizer


def tiny_parts() -> Parts:
    """A tower, and a connector of LLaVA's form."""
    tower = tiny_tower()

    class Connector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear_1, self.linear_2 = nn.Linear(8, WIDTH), nn.Linear(WIDTH, WIDTH)
            for layer in (self.linear_1, self.linear_2):
                nn.init.normal_(layer.weight, std=0.5)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.linear_2(nn.functional.gelu(self.linear_1(tokens)))

    return Parts(tower, Connector())


@functools.cache
def _tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [PAD, "<|im_start|>", "<|im_end|>", RESERVED]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator([*NAME_QUESTIONS, *NAME_ANSWERS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend)
