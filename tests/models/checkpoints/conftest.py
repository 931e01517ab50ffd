"""The fixtures ``source`` and ``skeleton``: a checkpoint to convert, and its skeleton."""

from original_llava import skeleton, source

__all__ = ["skeleton", "source"]
