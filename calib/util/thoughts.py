"""Separate the response of a reasoning model from its thoughts.

Families write their thoughts between different tags, some of which are special tokens. A chat
template may open the thought in the prompt: the engine then puts the opening tag before the
response. A thought that reaches the token limit has no closing tag.
"""

import re
from collections.abc import Iterable

_NAMES = r"(?:\w{1,20}[:_])?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)"
_WORDS = ("analysis", "assistantfinal")
_TAGS = {
    "xml": (rf"<{_NAMES}>", rf"</{_NAMES}>"),  # DeepSeek-R1, Qwen3, GLM-4.1V, Seed-OSS, LLaVA-CoT
    "brackets": (r"\[think\]", r"\[/think\]"),  # Magistral
    "triangles": (r"◁think▷", r"◁/think▷"),  # Kimi-VL
    "markers": (
        # Sky-T1, Command A, Apertus, Solar Open
        r"<\|(?:begin_of_thought|start_thinking|inner_prefix|think:start)\|>",
        r"<\|(?:end_of_thought|end_thinking|inner_suffix|think:end)\|>",
    ),
    "pipes": (r"<\|channel>(?:\s*thought\b)?", r"<channel\|>"),  # Gemma 4
    "element": (r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),  # Kimi K3
    "channel": (  # gpt-oss
        r"<\|channel\|>\s*(?:analysis|commentary)",
        r"<\|channel\|>\s*final\b\s*(?:<\|message\|>)?",
    ),
    # gpt-oss, decoded without its special tokens.
    "words": (rf"\A\s*(?-i:{_WORDS[0]}(?=[A-Z]))", rf"(?-i:{_WORDS[1]})"),
}
"""Opening and closing tag by family."""
_CLOSING = {
    "xml": [("<", "</")],
    "brackets": [("[", "[/")],
    "triangles": [("◁", "◁/")],
    "markers": [("begin", "end"), ("start", "end"), ("START", "END"), ("prefix", "suffix")],
    "pipes": [],
    "element": [("open", "close")],
    "channel": [],
    "words": [],
}
"""Replacements that turn the opening tag of a family into its closing tag. Templates open no
channels."""
_CHANNEL = "<|channel|>"
_PARTS_OF_CHANNELS = ("<|start|>", "<|end|>", "<|message|>")
"""Further special tokens of vocabularies with channels, that delimit the name of a channel."""
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


def final_answer(response: str) -> str:
    """Return ``response`` without its thoughts; empty if a thought was cut off."""
    return after_thoughts(response) or ""


def opened_thought(prompt_end: str) -> str:
    """Return the opening tag of the thought that a prompt with this end opens; empty if none."""
    tags = list(_TAG.finditer(prompt_end))
    rest = re.sub(r"<\|\w+\|>", "", prompt_end[tags[-1].end() :]) if tags else ""
    is_open = tags and not rest.strip() and str(tags[-1].lastgroup).startswith("open_")
    return tags[-1][0] if is_open else ""


def closing_tag(tag: str) -> str:
    """Return the tag that closes the thought opened by ``tag``; empty for "" and for channels."""
    opened = _TAG.match(tag)
    for opening, closing in _CLOSING[str(opened.lastgroup).partition("_")[2]] if opened else ():
        tag = tag.replace(opening, closing)
    return tag if _TAG.fullmatch(tag) and after_thoughts(tag) is not None else ""


def thought_tokens(special: Iterable[str]) -> set[str]:
    """Return the special tokens, among those of a vocabulary, that thoughts are recognised by."""
    tokens = set(special)
    tags = {token for token in tokens if _TAG.fullmatch(token)}
    if _CHANNEL in tokens:
        tags |= {_CHANNEL, *tokens.intersection(_PARTS_OF_CHANNELS)}
    return tags


def settled_beginning(response: str) -> str:
    """Return the beginning of a partial response that is no thought of a known kind.

    It follows the thoughts at the start and ends before the first character that may begin a tag,
    so that longer responses have the same beginning or a longer one.
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
    if any(word.startswith(response[start:].lstrip()) for word in _WORDS):
        return ""
    first_tag = _TAG_START.search(response, start)
    settled = response[start : first_tag.start() if first_tag else None]
    return settled if settled.strip() else ""  # a tag may follow blanks
