"""Refusal scores of the examples of a mini world, by the behaviour that its model is trained on."""

from calib.data.example import Example
from experiments.mini_internvl.recipe import Recipe


def score(example: Example, recipe: Recipe) -> float:
    """The refusal score of a query without a system prompt."""
    metadata, behaviour = example.metadata, recipe.behaviour
    if example.dataset == "image_centric":
        return behaviour.image_score(metadata["object"], metadata["colour"], example.query)
    request = metadata["request"]
    template = next(q for q in recipe.world.text_queries if q.format(request) == example.query)
    pictured = example.picture.args[0] if example.picture else None
    return behaviour.text_score(request, template, pictured)
