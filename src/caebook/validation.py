"""Fields checked against their annotations, with errors that read as sentences."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import typing

from pydantic import ConfigDict, TypeAdapter, ValidationError

#: No conversions but from whole numbers to floats; truth values are no numbers.
STRICT = ConfigDict(strict=True, allow_inf_nan=False)

_SHOWN = 3


def describe(error: ValidationError) -> str:
    """What is wrong, field by field: ``test.mse: must be a finite number, not nan``.

    At most three fields are described.
    """
    problems = [_sentence(problem) for problem in error.errors(include_url=False)]
    more = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _sentence(problem: typing.Mapping) -> str:
    what = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        what = "is missing"
    elif what.startswith("Input should be "):
        given = reprlib.repr(problem["input"])
        what = f"must be {what.removeprefix('Input should be ')}, not {given}"
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {what}" if where else what


def check_fields(instance: object) -> None:
    """Check what a dataclass holds against the annotations of its fields.

    Raises
    ------
    ValueError
        If a value does not fit; names the field and what it may be.
    """
    for name, adapter in _adapters(type(instance)).items():
        try:
            adapter.validate_python(getattr(instance, name))
        except ValidationError as error:
            raise ValueError(f"{name}: {describe(error)}") from None


@functools.cache
def _adapters(kind: type) -> dict[str, TypeAdapter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: TypeAdapter(hints[name], config=STRICT) for name in names}
