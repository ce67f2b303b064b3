"""What a use is: its data, a network as pure functions of ONE example, and how well it does.

The loop, the batches, the checkpoints and the command line are the same for all (`run.py`); a use
says only what is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import jax

from experiments.uses.settings import Settings


class Examples(NamedTuple):
    """N examples, not padded: x is what the network reads, y what it should answer."""

    xs: Sequence[Any]
    """N NumPy arrays of one dtype; axis 0 may differ in length (time), the others not."""
    ys: Sequence[Any]
    """The same; scalars (shape ()) where there is one answer a sequence."""


class Data(NamedTuple):
    """The splits, and what is to be known of them."""

    train: Examples
    val: Examples
    test: Examples
    about: Any = None
    """What the network and its report need: a vocabulary, names of classes, a scale."""


class Example(NamedTuple):
    """One example as the network gets it, padded with zeros; a batch has an axis B before each."""

    x: Any
    x_length: Any
    """Valid steps of axis 0 of x; 1 of a scalar."""
    y: Any
    y_length: Any


class Use(Protocol):
    """A use, with its settings and what its data are about."""

    title: ClassVar[str]
    """A line for the command line's help, and for the tables."""
    defaults: ClassVar[Settings]
    metric: ClassVar[str]
    """The score by which the best checkpoint is chosen, a key of what `score` gives."""
    higher_is_better: ClassVar[bool]

    def __init__(self, settings: Settings, about: Any): ...

    @staticmethod
    def load(path: Path | None, seed: int) -> Data:
        """Reads the data at `path`, or generates some.

        Raises:
          UserError: missing or broken data.
        """
        ...

    def init(self, key: jax.Array) -> Any:
        """Params; consumes the key."""
        ...

    def loss(
        self, params: Any, example: Example, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """Of one example: the summed loss in nats (or its own unit) and over how many terms.

        `key` turns dropout on, and is consumed.
        """
        ...

    def score(self, params: Any, examples: Examples) -> Mapping[str, float]:
        """How well the network does, by the field's measures; in the order to be shown."""
        ...

    def baseline(self, data: Data) -> Mapping[str, float]:
        """What needs no network comes to on the test split, by (some of) the same measures."""
        ...

    def show(self, params: Any, data: Data, folder: Path) -> list[str]:
        """Lines to print: examples, and the paths of the pictures it wrote into `folder`."""
        ...
