"""The fixture ``world``: examples to fit methods to."""

from fitting_world import world

__all__ = ["world"]
