"""Progress bars, quiet where nobody watches."""

from typing import Any

from tqdm.auto import tqdm


def row_bar(name: str, total: int) -> Any:
    """A progress bar over rows; quiet when not a terminal."""
    return tqdm(total=total, desc=name, unit="row", disable=None, leave=False)
