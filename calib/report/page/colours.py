"""Colours of drawings that follow the page's light or dark mode."""

import re

DARK = frozenset(
    ("#000000", "#ffffff", "#e6e6e6", "#cccccc", "#b3b3b3", "#999999", "#737373", "#4d4d4d",
     "#404040", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a7a00")
)  # fmt: skip
"""Colours that the stylesheet gives another value in dark mode, as the variables --c-RRGGBB."""
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")


def follow_mode(style: str) -> str:
    """Replace the colours of DARK in the ``style`` of an element by the variables of the page.

    Other colours stay, such as those of heat maps and of the numbers in their cells.
    """
    return _COLOUR.sub(
        lambda found: f"var(--c-{found[0][1:]}, {found[0]})" if found[0] in DARK else found[0],
        style,
    )
