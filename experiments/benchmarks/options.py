"""What can be asked on the command line; free of JAX, so that `--help` is quick."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from experiments.common.errors import UserError
from experiments.common.settings import check_settings


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

EPOCH = 10
"""Of `long`: updates between two tests."""


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
    by_xla: bool = False
    """Split by XLA, as `jit` does with sharded arrays; else by hand, gradients added up once."""
    quick: bool = False
    """LSTM and GRU, three shapes, 10 seconds each: about five minutes."""
    output: Path = Path("runs/benchmarks")
    """The folder for cells.json, cells.md and cells.png."""

    def __post_init__(self) -> None:
        check_settings(self, {"a whole number from 1": "repeats", "at least 0": "seconds"})

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
    """The folder for compile.json and compile.md."""

    def __post_init__(self) -> None:
        check_settings(self, {"a whole number from 1": "repeats"})

    def chosen_cells(self) -> tuple[str, ...]:
        return _chosen("--cells", self.cells, CELLS) or (QUICK_CELLS if self.quick else CELLS)


@dataclasses.dataclass
class Memory:
    """Peak temporary bytes of a gradient by each method, as XLA reports them, against T."""

    cell: str = "lstm"
    batch: int = 8
    features: int = 16
    """Few, so that real-time recurrent learning takes part."""
    lengths: tuple[int, ...] = (100, 1000, 10_000, 100_000)
    methods: tuple[str, ...] = ("lax.scan", "none", "sqrt", "recursive", "truncated", "rtrl")
    """Plain lax.scan; what `rx.scan` takes as `checkpoint`, a number of steps too; truncated
    backpropagation; real-time recurrent learning."""
    look_back: int = 100
    """Of truncated: steps that a gradient goes back."""
    time: bool = False
    """Also compute the gradients, to show what the memory saved costs in time."""
    quick: bool = False
    """The two first lengths only."""
    output: Path = Path("runs/benchmarks")
    """The folder for memory.json, memory.md and memory.png."""

    def __post_init__(self) -> None:
        check_settings(self, {"a whole number from 1": "batch features look_back"})
        if not self.methods:
            raise ValueError("methods must be at least one; got none")
        # From 1 on; how bytes grow is told by two lengths, of which the second is the greater.
        if not self.lengths or any(b <= a for a, b in itertools.pairwise((0, *self.lengths))):
            raise ValueError(
                f"lengths must be whole numbers from 1, each greater than the one before; "
                f"got {self.lengths}"
            )

    def chosen_lengths(self) -> tuple[int, ...]:
        return self.lengths[:2] if self.quick else self.lengths


@dataclasses.dataclass(frozen=True)
class Long:
    """Trains an LSTM on sequences of 100,000 steps within a budget of memory.

    Raises:
      ValueError: a setting out of its range; it is named.
    """

    steps: int = 100_000
    """T: the sign is shown at the first step and due after the last."""
    budget: float = 8.0
    """MiB for all temporary arrays of an update; the cheapest `checkpoint` within it is taken."""
    truncated: int = 0
    """Instead, truncated backpropagation that goes so many steps back."""
    features: int = 16
    batch: int = 16
    updates: int = 30
    learning_rate: float = 3e-2
    seed: int = 0
    output: Annotated[Path, tyro.conf.arg(name="folder")] = Path("runs/long")
    """The folder for long.md, curves.png and checkpoints; a run found there is continued."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "a whole number from 1": "steps features batch updates",
                "a whole number from 0": "truncated seed",
                "above 0 and finite": "budget learning_rate",
            },
        )
        if self.steps < 3:
            raise ValueError(f"steps must be at least 3; got {self.steps}")
        if self.updates > EPOCH and self.updates % EPOCH:
            raise ValueError(
                f"updates must be up to {EPOCH} or a multiple of it, for every {EPOCH} are tested "
                f"and saved; got {self.updates}"
            )


@dataclasses.dataclass
class Decode:
    """Beam search with the translator's model, beside the same model in a loop in PyTorch."""

    folder: Path | None = None
    """A trained model of `experiments.translation`; random weights unless given."""
    file: Path | None = None
    """What it translates, a sentence a line, plain or .gz."""
    average: int = 5
    """How many of the best checkpoints to average."""
    sentences: int = 512
    """How many, evenly from the file."""
    batch_size: int = 64
    beam: tuple[int, ...] = (1, 5, 10)
    """Beam sizes."""
    length_penalty: float = 1.0
    """alpha of the GNMT length penalty."""
    repeats: int = 7
    """Rounds: in each, everything is measured once."""
    seconds: float = 240.0
    """Start no further round of one beam size after so long, beyond the first three."""
    output: Path = Path("runs/benchmarks")
    """The folder for decoding.json and decoding.md."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            {
                "a whole number from 1": "average sentences batch_size repeats",
                "at least 0": "seconds",
            },
        )
        if min(self.beam, default=0) < 1:
            raise ValueError(f"beam sizes must be whole numbers from 1; got {self.beam}")


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
