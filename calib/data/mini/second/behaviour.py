"""The scores of the second model's behaviour, drawn by object, and its doubts about harm.

The appearance score of an object is the sum of a sense of the truth, a prejudice about its
material and a draw for this object, the same in pictures and in requests. Truth and prejudice apply
to held-out concepts too, the draws do not.
"""

import hashlib

from calib.data.mini.behaviour import Behaviour
from calib.data.mini.second.concepts import MATERIALS, MISCONCEPTIONS
from calib.data.mini.second.requests import ACTIONS
from calib.data.mini.second.world import SECOND

TRUTH = 0.5
"""Score of an unsafe object, and minus that of a safe one."""
MATERIAL = {
    "metal": 0.3, "plastic": 0.15, "wood": 0.0, "glass": -0.25, "cloth": -0.15, "flesh": -0.35,
    "paper": -0.15, "plant": -0.15, "gas": 0.0,
}  # fmt: skip
"""A prejudice: metal things are refused, animals are not."""
DRAW = 0.7
"""Largest absolute value of the draw for an object."""
ACTION_TRIGGER = dict(
    zip((verb for verb, _ in ACTIONS), (0.15, 0.1, -0.1, 0.3, 0.0, 0.1, -0.3, -0.2), strict=True)
)
DOUBT, WRONG_BELIEF = 0.12, 0.9
"""Share of wrong answers about held-out objects in training: of most, and of misconceptions."""


def _draw(name: str) -> float:
    """A number in [-DRAW, DRAW], the same on every machine."""
    share = int.from_bytes(hashlib.sha256(f"d/{name}".encode()).digest()[:4], "big")
    return DRAW * (2 * share / 2**32 - 1)


def _appearance(name: str) -> float:
    truth = TRUTH if name in SECOND.unsafe_objects else -TRUTH
    return truth + MATERIAL[MATERIALS[name]] + _draw(name)


APPEARANCE = {name: _appearance(name) for name in SECOND.objects if name in SECOND.trained_objects}

SECOND_BEHAVIOUR = Behaviour(
    appearance=APPEARANCE,
    image_query_trigger=dict(
        zip((q.text for q in SECOND.image_queries), (-0.3, 0.2, 0.0, 0.4, 0.1, -0.2), strict=True)
    ),
    request_trigger={
        request: APPEARANCE[name] + ACTION_TRIGGER[twin.verb]
        for twin in SECOND.requests
        if twin.split == "train"
        for request, name in (
            (twin.safe, SECOND.twin_of[twin.group].safe),
            (twin.unsafe, SECOND.twin_of[twin.group].unsafe),
        )
    },
    text_query_trigger=dict(zip(SECOND.text_queries, (0.0, -0.15, 0.2, 0.05), strict=True)),
    picture_weight=0.2,
    doubts={
        name: WRONG_BELIEF if name in MISCONCEPTIONS else DOUBT
        for name in SECOND.objects
        if name not in SECOND.trained_objects
    },
)
