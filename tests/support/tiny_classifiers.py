"""Tiny classifiers and guards with random weights, saved as safetensors.

Their outputs are meaningless but differ between responses, so that a test notices a wrong prompt.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CLASSES = {0: "NORMAL", 1: "REJECTION", 2: "WARNING"}
TEMPLATE = (
    "Judge this.\n{% for message in messages %}<|turn|>{{ message['role'] }}: "
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>verdict: {% endif %}"
)
ENDS = ("</s>", "R")
"""End-of-sequence tokens of the guard's generation config."""
SPREAD = 0.4
"""Standard deviation of the weights; with the usual 0.02 all outputs are equal."""


def tokenizer(*control_tokens: str, **settings: Any) -> PreTrainedTokenizerFast:
    """One token per ASCII character, with RoBERTa's special tokens: start 0, padding 1, end 2."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", *control_tokens]
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 96,
        special_tokens=special,
        initial_alphabet=[chr(i) for i in range(33, 127)] + ["\u0120", "\u010a"],  # " ", "\\n"
        show_progress=False,
    )
    backend.train_from_iterator([], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={f"control_{k}": text for k, text in enumerate(control_tokens)},
        **settings,
    )


def sequence(folder: Path, seed: int = 3, positions: int = 66, **changes: Any) -> Path:
    """A RoBERTa that classifies texts into CLASSES and reads ``positions`` - 2 tokens."""
    words = tokenizer()
    config = transformers.RobertaConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=1,
        initializer_range=SPREAD,
        **{"id2label": CLASSES, **changes},
    )
    return _saved(folder, transformers.RobertaForSequenceClassification, config, words, seed)


def guard(folder: Path, seed: int = 0, template: str | None = TEMPLATE, **changes: Any) -> Path:
    """A decoder with a chat template that generates a verdict after query and response."""
    words = tokenizer("<|turn|>", "<|end|>")
    words.chat_template = template
    config = transformers.Qwen3Config(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        initializer_range=SPREAD,
        eos_token_id=2,
        pad_token_id=1,
        **{"max_position_embeddings": 512, "tie_word_embeddings": True, **changes},
    )
    return _saved(folder, transformers.Qwen3ForCausalLM, config, words, seed)


def _saved(folder: Path, kind: Any, config: Any, words: Any, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        # Parameters such as biases are initialised to zero.
        for weight in model.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=SPREAD)
    if kind is transformers.Qwen3ForCausalLM:
        # Real guards have such settings, which a judge must ignore.
        model.generation_config = transformers.GenerationConfig(
            do_sample=True,
            temperature=2.0,
            repetition_penalty=3.0,
            eos_token_id=words.convert_tokens_to_ids(list(ENDS)),
        )
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
