"""What settings mean, in the words beneath the fields of the configuration's dataclasses.

Python throws such strings away, so they are read from the source. ``--help`` and the documentation
both show them.
"""

import ast
import dataclasses
import functools
import inspect
import sys


def meanings(schema: type) -> dict[str, str]:
    """The meaning of each field of a dataclass, by its name, in one line and in the fields' order.

    A field that a subclass gives another default keeps the words of its parent. Fields without
    words, such as whole groups, are missing.
    """
    said: dict[str, str] = {}
    for kind in reversed(schema.__mro__):
        if dataclasses.is_dataclass(kind):
            said |= _in_module(kind.__module__).get(kind.__name__, {})
    names = [field.name for field in dataclasses.fields(schema)]
    return {name: said[name] for name in names if name in said}


@functools.cache
def _in_module(name: str) -> dict[str, dict[str, str]]:
    """By class and field: the string that follows the field's line."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sys.modules[name])).body:
        if isinstance(node, ast.ClassDef):
            words = found[node.name] = {}
            for line, beneath in zip(node.body, node.body[1:], strict=False):
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    text = _string(beneath)
                    if text is not None:
                        words[line.target.id] = " ".join(text.split())
    return found


def _string(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        value = node.value.value
        return value if isinstance(value, str) else None
    return None
