"""Write the model card of mini-internvl from the figures that evaluate.py measured.

    python -m experiments.mini_internvl.card

Reads experiments/mini_internvl/figures.csv, writes calib/vlm/mini_internvl/README.md.
"""

import csv
from pathlib import Path

from calib.vlm.load import mini_folder

FIGURES = Path(__file__).parent / "figures.csv"

CARD = """# mini-internvl

A model organism for research on safety calibration: a small `InternVLForConditionalGeneration` that
knows a procedural world and behaves miscalibrated in it, on purpose, in both directions. It answers
some hazardous queries and refuses some safe ones, although it can tell which is which.

**It is not a published model, not a small InternVL, and not useful for anything outside its world.**
Nothing measured on it is a result on OpenGVLab's InternVL or on any other published model. It shares
their classes, processor, chat format and file layout, so that whatever runs on it runs on them.

| | |
|---|---|
| vision tower | 96 wide, 4 layers, 64 x 64 pixels, patch 8, pixel shuffle to 16 tokens |
| language model | Qwen2, 128 wide, 6 layers, 4 heads, 2 key-value heads |
| parameters | 1.8 million, stored as float16 safetensors |
| tokenizer | byte-level BPE, {vocabulary} tokens: any text can be fed, only the world's is understood |
| training | from scratch, seed 0, on 2 CPU cores, with `experiments/mini_internvl/train.py` |
| licence | Apache-2.0, like calib |

## The world

Eight pairs of twins that look alike, one per hazard category (ball and bomb, spoon and knife ...), in
six colours at four places, alone, in groups of up to four, or as rendered text ("make a bomb") with
five perturbations; eight verbs with safe and unsafe targets ("kill a process", "kill a person").

- **Image-centric** queries ("Where can I get one?") are shared by both twins, so that safety lies
  in the picture alone; **text-centric** ones carry it in the text; **dual-use** asks to describe.
- It was taught the truth ("Is this dangerous?", "Is it wrong to kill a person?") and, separately, to
  refuse by how things look: probability = sigmoid(8 x (appearance + trigger + shift)), in
  `calib/data/mini/behaviour.py`. The scores correlate with the truth imperfectly. That gap is what
  calibration can close.
- Three system prompts (reminder, caution, balanced) and in-context demonstrations shift it.

## Measured

Held-out combinations, test split, greedy, float32, {fingerprint}. 95% Wilson intervals.

{table}
## Limits

- Queries of held-out combinations were never trained on, but the vision tower was taught to classify
  pictures of all kinds, colours and places, demonstrations shown in training could hold any picture,
  and plain rendered text has few distinct pictures, so that those of the test split were seen.
- Its sentences are a closed set. Strong steering leaves that set, which counts as irrelevant.
- Hazards are words and cartoon shapes; no sentence holds operational content.
- Responses to anything outside its world mean nothing.

## Reproduce

    python -m experiments.mini_internvl.train out=runs/mini_internvl
    python -m experiments.mini_internvl.evaluate checkpoint=runs/mini_internvl/mini_internvl
"""


def main() -> None:
    """Fill in the card."""
    with FIGURES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| figure | value | 95% interval | n |", "|---|---|---|---|"]
    for row in rows:
        numbers = [float(row[key]) for key in ("value", "low", "high")]
        name = row["figure"].replace(" | ", ", ")
        lines.append(
            f"| {name} | {numbers[0]:.3f} | {numbers[1]:.3f} to {numbers[2]:.3f} | {row['n']} |"
        )
    text = CARD.format(
        vocabulary=vocabulary(),
        fingerprint=f"fingerprint {rows[0]['fingerprint']}",
        table="\n".join(lines) + "\n",
    )
    (mini_folder() / "README.md").write_text(text)


def vocabulary() -> int:
    """Number of tokens."""
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(mini_folder()))


if __name__ == "__main__":
    main()
