"""What can be asked on the command line; free of JAX, so that `--help` is quick."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.common.errors import UserError


class Shape(NamedTuple):
    """B sequences of T steps, D inputs, H hidden."""

    B: int
    T: int
    D: int
    H: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


SHAPES = (
    Shape(32, 100, 128, 256),
    Shape(64, 64, 256, 512),
    Shape(16, 200, 64, 128),
    Shape(1, 256, 64, 64),
    Shape(128, 32, 512, 1024),
    Shape(256, 50, 64, 64),
)
CELLS = ("elman", "lstm", "gru", "gru-before", "peephole", "layer-norm")
PEERS = ("lax.scan", "linen", "nnx", "haiku", "equinox", "keras", "torch")

QUICK_SHAPES = (SHAPES[0], SHAPES[2], SHAPES[3])
QUICK_CELLS = ("lstm", "gru")


@dataclasses.dataclass
class Cells:
    """Time of a forward pass and of a training step, beside the peers."""

    cells: tuple[str, ...] = ()
    """Some of elman lstm gru gru-before peephole layer-norm; all by default."""
    shapes: tuple[str, ...] = ()
    """B,T,D,H B,T,D,H ...; the six of the suite by default."""
    peers: tuple[str, ...] = ()
    """Some of lax.scan linen nnx haiku equinox keras torch; all by default."""
    repeats: int = 15
    """Rounds: in each, everything is measured once."""
    seconds: float = 40.0
    """Start no further round of one cell at one shape after so long, beyond the first three."""
    sharded: bool = True
    """Also with the batch split over all cores (GPUs)."""
    quick: bool = False
    """LSTM and GRU, three shapes, 10 seconds each: about five minutes."""
    output: Path = Path("runs/benchmarks")
    """The folder for cells.json, cells.md and cells.png."""

    def chosen_cells(self) -> tuple[str, ...]:
        return _chosen("--cells", self.cells, CELLS) or (QUICK_CELLS if self.quick else CELLS)

    def chosen_shapes(self) -> tuple[Shape, ...]:
        default = QUICK_SHAPES if self.quick else SHAPES
        return tuple(map(parse_shape, self.shapes)) or default

    def chosen_peers(self) -> tuple[str, ...]:
        return _chosen("--peers", self.peers, PEERS) or PEERS

    def budget(self) -> float:
        """Seconds for one cell at one shape and pass."""
        return min(self.seconds, 10.0) if self.quick else self.seconds


@dataclasses.dataclass
class Compile:
    """Time to trace and to compile a training step, beside plain lax.scan."""

    cells: tuple[str, ...] = ()
    """Some of elman lstm gru gru-before peephole layer-norm; all by default."""
    shape: str = str(SHAPES[2])
    """B,T,D,H."""
    repeats: int = 5
    quick: bool = False
    """LSTM and GRU, three times."""
    output: Path = Path("runs/benchmarks")
    """The folder for compile.json, compile.md and compile.png."""

    def chosen_cells(self) -> tuple[str, ...]:
        return _chosen("--cells", self.cells, CELLS) or (QUICK_CELLS if self.quick else CELLS)


@dataclasses.dataclass
class Memory:
    """Peak temporary bytes of a training step under each `checkpoint`, as XLA reports them."""

    cell: str = "lstm"
    batch: int = 8
    inputs: int = 4
    """Few, so that the copy of the inputs, which grows as T, does not hide what the loop keeps."""
    features: int = 256
    lengths: tuple[int, ...] = (1024, 4096, 16384)
    checkpoints: tuple[str, ...] = ("none", "32", "128", "sqrt", "recursive")
    """What `rx.scan` takes as `checkpoint`."""
    time: bool = False
    """Also run the steps, to show what the memory saved costs in time."""
    quick: bool = False
    """The two shorter lengths of the default."""
    output: Path = Path("runs/benchmarks")
    """The folder for memory.json, memory.md and memory.png."""

    def chosen_lengths(self) -> tuple[int, ...]:
        return self.lengths[:2] if self.quick else self.lengths


@dataclasses.dataclass
class Everything:
    """cells, compile and memory, one after the other, with their defaults."""

    quick: bool = False
    """Smaller and shorter: about six minutes."""
    output: Path = Path("runs/benchmarks")
    """The folder for all files."""


def parse_shape(text: str) -> Shape:
    """`"32,100,128,256"` as a `Shape`.

    Raises:
      UserError: it is not four positive numbers.
    """
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UserError(
            f"a shape is four positive numbers B,T,D,H, such as 32,100,128,256; got {text!r}."
        )
    return Shape(*map(int, parts))


def _chosen(option: str, names: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names, checked to be known, in the order of `known`."""
    names = set(names)
    if unknown := sorted(names - set(known)):
        raise UserError(f"{option}: there is no {unknown[0]!r}; there are {', '.join(known)}.")
    return tuple(name for name in known if name in names)
