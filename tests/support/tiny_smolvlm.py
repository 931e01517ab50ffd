"""SmolLM2 and our parts of smolvlm_emoji with tiny random weights."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from calib.models.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from calib.models.towers.naming import NamingTower
from experiments.smolvlm_emoji.naming import tower_to_train
from experiments.smolvlm_emoji.own_answers import PICTURE_QUESTIONS
from experiments.smolvlm_emoji.refusals import SAFE
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


def tiny_naming_tower(names: Sequence[str]) -> NamingTower:
    """A tower that knows ``names``."""
    torch.manual_seed(0)
    tower = tower_to_train(names, TOWER).eval()
    tower.network.load_state_dict(tiny_tower().state_dict())
    nn.init.normal_(tower.naming.weight, std=300)  # so that pictures differ in their names
    with torch.no_grad():  # scores relative to those of a grey picture
        grid = tower.network.grid(torch.zeros(1, 3, 224, 224))
        tower.naming.bias.zero_().sub_(tower.scores(grid)[0])
    return tower


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
    backend.train_from_iterator([*PICTURE_QUESTIONS, *SAFE], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend)
