"""The language model's own answers to questions about things, as training data for the connector.

    python -m experiments.smolvlm_emoji.own_answers out=FILE.jsonl [threads=2]

The language model answers questions about each thing by name. The connector is trained so that the
model gives the same answers about a picture of the thing, and so keeps its style. Run the command
again to resume it.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from calib.util.errors import CalibError
from experiments.smolvlm_emoji.drawings import load_drawings
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import text_model
from experiments.smolvlm_emoji.things import phrase

QUESTIONS = {
    "Tell me something about {a}.": "Tell me something about the thing in the picture.",
    "Where would I find {a}?": "Where would I find this?",
    "What can one do with {a}?": "What can one do with this?",
}
"""The question in words, and about a picture."""
AT_ONCE = 24
MAX_TOKENS = 48


def main(out: Path, threads: int) -> None:
    """Answer every question about every thing that is not yet in the file."""
    torch.set_num_threads(threads)
    cache = default_cache()
    names = dict.fromkeys(load_drawings(cache).names)
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["name"], row["asked"]) for row in _rows(out)} if out.exists() else set()
    left = [(n, q) for q in QUESTIONS for n in names if (n, q) not in done]
    language, tokenizer = text_model(cache)
    language.eval()
    for start in range(0, len(left), AT_ONCE):
        batch = left[start : start + AT_ONCE]
        answers = answered(language, tokenizer, [q.format(a=phrase(n)) for n, q in batch])
        with out.open("a", encoding="utf-8") as file:
            for (name, asked), answer in zip(batch, answers, strict=True):
                file.write(json.dumps({"name": name, "asked": asked, "answer": answer}) + "\n")


def answered(language: Any, tokenizer: Any, questions: list[str]) -> list[str]:
    """Greedy answers, each cut after its last whole sentence; "" if it has none."""
    chats = [[{"role": "user", "content": question}] for question in questions]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        tokens = language.generate(
            **inputs, max_new_tokens=MAX_TOKENS, do_sample=False, pad_token_id=0
        )
    new = tokens[:, inputs["input_ids"].shape[1] :]
    return [whole_sentences(text) for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def whole_sentences(text: str) -> str:
    """The first two whole sentences of the first paragraph; "" if there is none."""
    paragraph = text.strip().partition("\n")[0]
    return "".join(re.findall(r"[^.!?]*[.!?](?=\s|$)", paragraph)[:2]).strip()


def read_answers(path: Path) -> dict[str, list[tuple[str, str]]]:
    """By name of a thing: questions about its picture, and answers.

    Raises CalibError (not-found) if there is no such file.
    """
    if not path.exists():
        raise CalibError("not-found", f"own={path} does not exist: own_answers.py writes it.")
    found: dict[str, list[tuple[str, str]]] = {}
    for row in _rows(path):
        if row["answer"]:
            found.setdefault(row["name"], []).append((QUESTIONS[row["asked"]], row["answer"]))
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    options = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if unknown := options.keys() - {"out", "threads"}:
        sys.exit(f"unknown options: {', '.join(unknown)}\n\n{__doc__}")
    main(
        Path(options.get("out", "runs/smolvlm_emoji/own_answers.jsonl")),
        int(options.get("threads", os.cpu_count() or 1)),
    )
