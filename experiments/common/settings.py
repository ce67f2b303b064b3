"""Settings of a run, as nested dataclasses: what they may be, and what two differ in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from experiments.common.errors import UserError

_RANGES: dict[str, Callable[[Any], bool]] = {
    "a whole number from 1": lambda value: isinstance(value, int) and value >= 1,
    "a whole number from 0": lambda value: isinstance(value, int) and value >= 0,
    "above 0": lambda value: value > 0,
    "above 0 and finite": lambda value: 0 < value < math.inf,
    "at least 0": lambda value: value >= 0,
    "at least 0 and finite": lambda value: 0 <= value < math.inf,
    "in [0, 1]": lambda value: 0 <= value <= 1,
    "in [0, 1)": lambda value: 0 <= value < 1,
}


def check_settings(config: Any, ranges: Mapping[str, str]) -> None:
    """Checks what no run can be made of, before anything is read or written.

    Args:
      config: a dataclass, in which others may be nested.
      ranges: names of settings, separated by blanks, by what they must be; fields whose type is a
        `Literal` are checked besides.

    Raises:
      ValueError: a setting is something else; it is named.
    """
    settings = dict(_flat(config))
    for expected, names in ranges.items():
        for name in names.split():
            if not _RANGES[expected](settings[name]):
                raise ValueError(f"{name} must be {expected}; got {settings[name]}")
    for part in _parts(config):
        for name, kind in get_type_hints(type(part)).items():
            if get_origin(kind) is Literal and settings[name] not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise ValueError(f"{name} must be one of {choices}; got {settings[name]}")


def check_same_run(path: Path, there: Any, here: Any) -> None:
    """A folder is one run: going on with other settings would be neither of the two.

    Raises:
      UserError: the settings of the run in the folder are others; each is named.
    """
    found = differences(there, here)
    if found:
        raise UserError(
            f"{path} holds a run with other settings ({'; '.join(found)}); choose another folder, "
            f"or the same settings to go on."
        )


def differences(one: Any, other: Any) -> list[str]:
    """What is another setting in `other`, of the same kind, as "name: that of one and of other"."""
    these, those = dict(_flat(one)), dict(_flat(other))
    return [
        f"{name}: {these[name]} and {those[name]}" for name in these if these[name] != those[name]
    ]


def _parts(config: Any) -> Iterator[Any]:
    """The dataclasses within `config`, itself last."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _parts(value)
    yield config


def _flat(config: Any) -> Iterator[tuple[str, Any]]:
    for part in _parts(config):
        for name, value in vars(part).items():
            if not dataclasses.is_dataclass(value):
                yield name, value
