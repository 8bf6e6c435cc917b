"""Options that belong together are one parameter of a command.

    class Output(NamedTuple):
        json: Json = False
        raw: Raw = False

    def history(patterns: Patterns, output: Output) -> None        zchat history PATTERN... --json --raw

Typer makes an option of each parameter of a function. `ungrouped` gives it one that has the fields of the groups as its
parameters, in their order.

Tests: tests/cli/test_groups.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


def ungrouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with a parameter for each option of its groups, which are NamedTuples."""
    told = signature(command, eval_str=True)
    groups = {name: each.annotation for name, each in told.parameters.items() if _is_group(each.annotation)}
    if not groups:
        return command

    @wraps(command)
    def called(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in group._fields})
        return command(**given)

    parameters: list[Parameter] = []
    for name, each in told.parameters.items():
        parameters += _fields(groups[name]) if name in groups else [each.replace(kind=Parameter.KEYWORD_ONLY)]
    called.__signature__ = told.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields")


def _fields(group: Any) -> list[Parameter]:
    types, defaults = get_type_hints(group, include_extras=True), group._field_defaults
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=defaults.get(name, Parameter.empty), annotation=types[name])
        for name in group._fields
    ]
