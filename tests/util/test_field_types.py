from dataclasses import dataclass
from typing import List, TypeVar  # noqa: UP035

import pytest

from calib.data.example import Example
from calib.util.field_types import wrong_field

Kind = TypeVar("Kind")
GIVEN = {"id": "a", "dataset": "d", "variant": "v", "category": "c", "split": "test", "query": "q"}


@dataclass(frozen=True)
class Annotated(Example):
    of_another_module: "Elsewhere" = 3  # noqa: F821
    of_any_kind: Kind = 3
    listed: List = ()  # noqa: UP006
    empty: tuple[()] = ()


def test_only_fields_of_calib_are_checked_in_a_class_that_another_package_derives():
    assert wrong_field(Annotated(**GIVEN)) is None
    assert wrong_field(Annotated(**GIVEN | {"query": 5})) == "query is 5, not str"


@pytest.mark.parametrize("split", ["dev", 1, ["test"]])
def test_a_value_that_is_not_among_the_choices(split):
    assert "validation" in wrong_field(Example(**GIVEN | {"split": split}))
