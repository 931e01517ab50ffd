"""Separate the response of a reasoning model from its thoughts, for every judge.

Families write their thoughts between different tags. A chat template may open the thought in the
prompt, so that the response has the closing tag only, and a thought that reaches the token limit
has no closing tag.
"""

import re

_NAMES = r"(?:\w{1,20}[:_])?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_TAGS = {
    "xml": (rf"<{_NAMES}>", rf"</{_NAMES}>"),  # DeepSeek-R1, Qwen3, GLM-4.1V, Seed-OSS, LLaVA-CoT
    "brackets": (r"\[think\]", r"\[/think\]"),  # Magistral
    "triangles": (r"◁think▷", r"◁/think▷"),  # Kimi-VL
    "markers": (
        r"<\|(?:begin_of_thought|start_thinking|inner_prefix)\|>",  # Sky-T1, Command A, Apertus
        r"<\|(?:end_of_thought|end_thinking|inner_suffix)\|>",
    ),
    "element": (r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),  # Kimi K3
    "channel": (  # gpt-oss
        r"<\|channel\|>\s*(?:analysis|commentary)\b",
        r"<\|channel\|>\s*final\b\s*(?:<\|message\|>)?",
    ),
    # gpt-oss, decoded without its special tokens.
    "words": (r"\A\s*(?-i:analysis(?=[A-Z]))", r"(?-i:assistantfinal)"),
}
"""Opening and closing tag by family."""
_TAG = re.compile(
    "|".join(
        f"(?P<open_{family}>{opening})|(?P<close_{family}>{closing})"
        for family, (opening, closing) in _TAGS.items()
    ),
    re.IGNORECASE,
)
_LEADING_TAG = re.compile(rf"\s*(?:{_TAG.pattern})", re.IGNORECASE)
_TAG_START = re.compile(r"[<\[◁]")


def after_thoughts(response: str) -> str | None:
    """Return ``response`` without its thoughts, or None if a thought was cut off.

    Everything before a closing tag that nothing opened is a thought that the prompt opened. A
    response without tags is returned unchanged.
    """
    parts: list[str] = []
    start, family, closed = 0, None, False
    for tag in _TAG.finditer(response):
        kind, _, name = str(tag.lastgroup).partition("_")
        if family is None and kind == "open":
            parts.append(response[start : tag.start()])
            family = name
        elif family is None:
            if closed:
                parts.append(response[start : tag.start()])
            else:
                parts.clear()
            start, closed = tag.end(), True
        elif kind == "close" and name == family:
            family, start, closed = None, tag.end(), True
    if family is not None:
        return None
    return " ".join([*parts, response[start:]]).strip() if closed else response


def with_opened_thought(response: str, prompt_end: str) -> str:
    """Return a response that was cut off, with the opening tag that its prompt ends with.

    Without the tag, nothing would show that the whole response is a thought. Unchanged if the
    prompt opens no thought, or the response has a tag of its own.
    """
    tags = list(_TAG.finditer(prompt_end))
    rest = re.sub(r"<\|\w+\|>", "", prompt_end[tags[-1].end() :]) if tags else ""
    if not tags or rest.strip() or after_thoughts(response) != response:
        return response
    is_open = str(tags[-1].lastgroup).startswith("open_")
    return f"{tags[-1][0]}\n{response}" if is_open else response


def settled_beginning(response: str) -> str:
    """Return the beginning of a partial response that is no thought of a known kind.

    It follows the thoughts at the start and ends before the first character that may begin a tag,
    so that longer responses have the same beginning or a longer one. It may still be a thought that
    the prompt opened.
    """
    start = 0
    while tag := _LEADING_TAG.match(response, start):
        kind, _, name = str(tag.lastgroup).partition("_")
        start = tag.end()
        if kind == "open":
            closing = re.compile(_TAGS[name][1], re.IGNORECASE).search(response, start)
            if closing is None:
                return ""
            start = closing.end()
    first_tag = _TAG_START.search(response, start)
    return response[start : first_tag.start() if first_tag else None]
