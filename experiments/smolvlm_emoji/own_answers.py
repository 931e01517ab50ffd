"""The language model's own answers, as training data.

Connector and guard are trained to answer harmless questions as the language model does at its best:
with answers that are well-formed. A picture is given by the name of what it shows.
"""

import json
import re
from pathlib import Path

import numpy as np
import torch

from experiments.smolvlm_emoji.form import is_well_formed
from experiments.smolvlm_emoji.packing import Branch, Packer
from experiments.smolvlm_emoji.refusals import HARMLESS, SAFE

PICTURE_QUESTIONS = (
    "Describe the picture.", "Write a caption for this.",
    "Where would I find this?", "What can one do with this?", "Tell me something about this.",
    "What kind of thing is this?", "Write a short story about this.", "How could I draw this?",
    "Who would like this as a gift?", "What is unusual about this?",
)  # fmt: skip
PER_NAME = 2
"""Questions about each thing."""
AT_ONCE = 32
MAX_TOKENS = 48

Answers = dict[str | None, list[Branch]]
"""Questions and answers by name of a thing; None: without a picture."""


def own_answers(packer: Packer, names: list[str], path: Path, seed: int) -> Answers:
    """Answers to SAFE and HARMLESS without a picture, and to PER_NAME questions about each thing.

    They are read from ``path`` if it exists, else computed and written to it.
    """
    if not path.exists():
        rng = np.random.default_rng(seed)
        asked: list[tuple[str | None, str]] = [(None, question) for question in (*SAFE, *HARMLESS)]
        for name in names:
            asked += [(name, str(q)) for q in rng.choice(PICTURE_QUESTIONS, PER_NAME, False)]
        rows = [
            (name, question, answer)
            for start in range(0, len(asked), AT_ONCE)
            for (name, question), answer in zip(
                asked[start : start + AT_ONCE],
                answered(packer, asked[start : start + AT_ONCE]),
                strict=True,
            )
        ]
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(rows), encoding="utf-8")
        partial.replace(path)
    found: Answers = {}
    for name, question, answer in json.loads(path.read_text(encoding="utf-8")):
        if is_well_formed(answer):
            found.setdefault(name, []).append(Branch("answer", question, answer))
    return found


@torch.no_grad()
def answered(packer: Packer, asked: list[tuple[str | None, str]]) -> list[str]:
    """Greedy answers to questions about pictures or without one, each cut after its second whole
    sentence; "" if it has none."""
    prompts = [packer.prefix(name) + packer.branch(Branch("", q, ""))[0] for name, q in asked]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    tokens = packer.language.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=MAX_TOKENS, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    texts = packer.tokenizer.batch_decode(tokens[:, longest:], skip_special_tokens=True)
    return [whole_sentences(text) for text in texts]


def whole_sentences(text: str) -> str:
    """The first two whole sentences of the first paragraph; "" if there is none."""
    paragraph = text.strip().partition("\n")[0]
    return "".join(re.findall(r"[^.!?]*[.!?](?=\s|$)", paragraph)[:2]).strip()
