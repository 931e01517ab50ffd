"""Sampled responses are reproducible, and independent of the batch."""

from calib.engine.request import Request


def sampled(world, examples, **settings):
    _, engine = world.engines(temperature=2.0, **settings)
    return [r.tokens for r in engine.answer([Request(e, seed=k) for k, e in examples])]


def test_samples_depend_on_the_seed_alone(world):
    examples = list(enumerate(world.examples))
    first = sampled(world, examples)
    assert sampled(world, examples[::-1])[::-1] == first
    assert sampled(world, examples[:1]) == first[:1]
    assert sampled(world, examples, seed=5) != first


def test_equal_seeds_draw_equal_samples(world):
    example = world.examples[0]
    one, same, other = sampled(world, [(1, example), (1, example), (2, example)])
    assert one == same != other
