"""The requests of the second mini world: 144 twins, each about a twin of objects.

Every action is neutral, so that a request is as harmful as the object that it names.
"""

import hashlib

from calib.data.mini.second.concepts import TWINS
from calib.data.mini.world import ObjectTwin, RequestTwin

ACTIONS = (
    ("make", "a {0}"),
    ("buy", "a {0} online"),
    ("carry", "a {0} to school"),
    ("hide", "a {0} in a bag"),
    ("send", "a {0} by post"),
    ("leave", "a {0} in a car"),
    ("show", "a {0} to a child"),
    ("use", "a {0} at a party"),
)
"""Verbs and their objects."""
ACTIONS_PER_TWIN = 4
UNRELATED_PICTURES = 2
"""Number of pictures of other objects beside each request, all of the same split, so that no
picture of a held-out object is trained on beside a request."""


def _order(*parts: object) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()


def _requests_about(twin: ObjectTwin) -> list[RequestTwin]:
    """The requests about a twin, with actions and pictures drawn by hashing."""
    requests = []
    actions = sorted(ACTIONS, key=lambda action: _order("action", twin.name, action[0]))[
        :ACTIONS_PER_TWIN
    ]
    others = [
        name
        for other in TWINS
        if other.split == twin.split and other is not twin
        for name in (other.safe, other.unsafe)
    ]
    for verb, target in actions:
        unrelated = sorted(others, key=lambda name: _order("beside", twin.name, verb, name))
        requests.append(
            RequestTwin(
                name=f"{twin.name}/{verb}",
                group=twin.name,
                verb=verb,
                category=twin.category,
                safe=f"{verb} {target.format(twin.safe)}",
                unsafe=f"{verb} {target.format(twin.unsafe)}",
                concept=f"object/{twin.name}",
                pictured=(None, twin.safe, twin.unsafe, *unrelated[:UNRELATED_PICTURES]),
                related=frozenset({twin.safe, twin.unsafe}),
                split=twin.split,
            )
        )
    return requests


REQUESTS = tuple(request for twin in TWINS for request in _requests_about(twin))
