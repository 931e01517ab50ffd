"""Text to and from a judge: what is judged is quoted, what comes back is read strictly."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_DECODER = json.JSONDecoder()


def quoted(texts: Mapping[str, str]) -> str:
    """``texts`` as one JSON object that none of them can end or leave.

    "<" and the brackets of [INST] are escaped as well (\\u003c reads as "<"): servers turn the
    marks of their chat templates into control tokens wherever they find them.
    """
    whole = {key: text.encode("utf-8", "replace").decode() for key, text in texts.items()}
    written = json.dumps(whole, ensure_ascii=False).replace("<", "\\u003c")
    return re.sub(r"\[(?=/?INST\])", r"\\u005b", written)


def read_answer(reply: str, choices: Mapping[str, tuple[str, ...]]) -> dict[str, str] | None:
    """What a reply chooses for each key of ``choices``; None where that cannot be read.

    The reply may stand in a code fence or have text around it. Its first JSON object with those
    keys counts; where a later one chooses otherwise, nobody knows which is the verdict. Case and
    blanks do not matter, and true and false are yes and no.
    """
    # Drafts of a reasoning model are no verdict; some servers send its thoughts without their
    # opening mark.
    said = reply.rpartition("</think>")[2].partition("<think>")[0]
    found = [_chosen(one, choices) for one in _objects(said) if choices.keys() <= one.keys()]
    return found[0] if found and all(one == found[0] for one in found) else None


def _chosen(
    one: Mapping[str, Any], choices: Mapping[str, tuple[str, ...]]
) -> dict[str, str] | None:
    chosen = {}
    for key, allowed in choices.items():
        value = one[key]
        if isinstance(value, bool):
            value = "yes" if value else "no"
        if not isinstance(value, str) or (value := value.strip().casefold()) not in allowed:
            return None
        chosen[key] = value
    return chosen


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, in order, those inside others left out."""
    at = text.find("{")
    while at >= 0:
        try:
            one, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield one
        at = text.find("{", end)
