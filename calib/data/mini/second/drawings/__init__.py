"""Drawings of the second world's objects: those of the first world, and 56 more."""

from calib.data.mini.first.drawings import DRAWINGS as OF_FIRST_WORLD
from calib.data.mini.pencil import Drawing
from calib.data.mini.second.drawings import animals, fire_and_chemicals, tools, weapons

DRAWINGS: dict[str, Drawing] = {
    **OF_FIRST_WORLD,
    **animals.DRAWINGS,
    **fire_and_chemicals.DRAWINGS,
    **tools.DRAWINGS,
    **weapons.DRAWINGS,
}
