"""Batches of few shapes and little padding, in an order that a restart repeats exactly.

Every pair goes to the cheapest of a handful of shapes (S, T) that holds it; shapes are what XLA
compiles, so `choose_shapes` picks the handful that pads the training split least. `Batches` is a
pure function of its arguments and an index: what a killed run must remember is one number, and the
`grain` pipeline over it carries that number in its state.

    batches = Batches(pairs, vocabularies, batch_size=128, epochs=12)
    stream = batches.stream()           # a grain iterator: next(), get_state(), set_state(), orbax
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.common.buckets import cheapest, choose_shapes, shuffled_epoch
from experiments.common.errors import UserError
from experiments.translation.tokenizer import EOS, PAD, Tokenizer, Vocabularies

# Roughly what a position costs to train: attention and the softmax over V come with the target.
_COSTS = (1, 4)


class Soft(NamedTuple):
    """The likeliest pieces at each target position, as a teacher has it."""

    probabilities: np.ndarray
    """[B, T, K]; what they leave of 1 belongs to all pieces alike."""
    pieces: np.ndarray
    """[B, T, K]"""


class Batch(NamedTuple):
    """B pairs; the rows that fill up an incomplete batch have length 0. int32."""

    source: np.ndarray
    """[B, S] pieces and a closing EOS, then PAD."""
    source_length: np.ndarray
    """[B] pieces, EOS included."""
    target: np.ndarray
    """[B, T] pieces and a closing EOS, then PAD; no BOS."""
    target_length: np.ndarray
    """[B] pieces, EOS included."""
    pair: Any = None
    """[B] which of the split's pairs, the left out ones not counted; -1 for a row that fills up."""
    soft: Soft | None = None
    """What a teacher predicted."""


class SourceBatch(NamedTuple):
    """B sentences to translate."""

    source: np.ndarray
    """[B, S] pieces and a closing EOS, then PAD."""
    source_length: np.ndarray
    """[B] pieces, EOS included; 0 for a row that only fills up."""
    index: np.ndarray
    """[B] where the sentence stands in the list that was asked for; -1 for a row that fills up."""


class Report(NamedTuple):
    """What the batches of an epoch are made of."""

    pairs: int
    too_long: int
    """Pairs left out for their length."""
    batches: int
    shapes: list[tuple[int, int]]
    """The (S, T) that occur."""
    source_padding: float
    """Share of the source positions that hold no piece."""
    target_padding: float


class _Epoch(NamedTuple):
    sides: tuple[list[list[int]], list[list[int]]]
    rows: list[np.ndarray]
    """The pairs of each batch, [<= B]."""
    shapes: np.ndarray
    """[batches, 2]"""


class Batches:
    """All batches of a training run, by index; thread-safe.

    Each epoch holds every pair once. With `dropout` (BPE-dropout, both sides) the pairs are split
    into other pieces in each epoch; one that outgrows the largest shape is taken whole that time.

    Args:
      pairs: the sentences.
      batch_size: B.
      epochs: how many the run has; the first batches do not depend on it.
      shapes: how many (S, T) at the most.
      dropout: the probability that a merge is skipped, in [0, 1).
      max_pieces: pairs with more on a side (EOS not counted) are left out; `too_long` counts them.
      seed: decides the order and the dropout.

    Raises:
      UserError: no pair is left, or `batch_size`, `epochs` or `shapes` is below 1.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        vocabularies: Vocabularies,
        *,
        batch_size: int,
        epochs: int = 1,
        shapes: int = 8,
        dropout: float = 0.0,
        max_pieces: int = 100,
        seed: int = 0,
    ):
        for name, value in (("batch_size", batch_size), ("epochs", epochs), ("shapes", shapes)):
            if value < 1:
                raise UserError(f"{name} must be at least 1; got {value}.")
        self.batch_size, self.epochs, self.seed = batch_size, epochs, seed
        self._dropout, self._vocabularies = dropout, vocabularies
        self._lock, self._cache = threading.Lock(), {}
        whole = [self._encode([pair[side] for pair in pairs], side) for side in (0, 1)]
        kept = [
            i for i, ab in enumerate(zip(*whole, strict=True)) if max(map(len, ab)) <= max_pieces
        ]
        self.too_long = len(pairs) - len(kept)
        if not kept:
            raise UserError(f"none of {len(pairs)} pairs has at most {max_pieces} pieces a side.")
        self._texts = [[pairs[i][side] for i in kept] for side in (0, 1)]
        self._whole = ([whole[0][i] for i in kept], [whole[1][i] for i in kept])
        self._limit = _lengths(self._whole).max(0)
        self.shapes = choose_shapes(_lengths(self._pieces(0)), shapes, self._limit, _COSTS)
        self.per_epoch = -(-len(kept) // batch_size)

    def __len__(self) -> int:
        return self.epochs * self.per_epoch

    def __getitem__(self, index: int) -> Batch:
        number, position = divmod(int(index), self.per_epoch)
        if not 0 <= number < self.epochs:
            raise IndexError(f"batch {index} of {len(self)}")
        epoch = self._epoch(number)
        rows, shape = epoch.rows[position], epoch.shapes[position]
        fields = []
        for side, width in zip(epoch.sides, shape, strict=True):
            fields += pad([side[row] for row in rows], self.batch_size, int(width))
        filler = np.full(self.batch_size - len(rows), -1)
        return Batch(*fields, pair=np.concatenate([rows, filler]).astype(np.int32))

    def stream(self) -> Any:
        """A grain iterator over all batches, read ahead by one thread.

        `get_state()` is what to save, `set_state()` goes on from there: it holds the index of the
        next batch and nothing else, so it belongs to the same arguments of `Batches`.
        """
        import grain  # here, for it takes seconds to import

        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
        return iter(grain.MapDataset.source(self).to_iter_dataset(options))

    def report(self, number: int = 0) -> Report:
        """What epoch `number` is made of."""
        epoch = self._epoch(number)
        space = self.batch_size * epoch.shapes.sum(0)
        padding = 1 - _lengths(epoch.sides).sum(0) / space
        occurring = sorted({(int(s), int(t)) for s, t in epoch.shapes})
        pairs = len(epoch.sides[0])
        return Report(pairs, self.too_long, self.per_epoch, occurring, *map(float, padding))

    def _encode(self, texts: Sequence[str], side: int, **options) -> list[list[int]]:
        return self._vocabularies[side].encode_all(texts, **options)

    def _pieces(self, number: int) -> tuple[list[list[int]], list[list[int]]]:
        """Both sides of every pair in epoch `number`."""
        if not self._dropout:
            return self._whole
        sides = [
            self._encode(texts, side, dropout=self._dropout, seed=_seed(self.seed, number, side))
            for side, texts in enumerate(self._texts)
        ]
        for row in np.flatnonzero((_lengths(sides) > self._limit).any(1)):
            for side in (0, 1):
                sides[side][row] = self._whole[side][row]
        return sides[0], sides[1]

    def _epoch(self, number: int) -> _Epoch:
        with self._lock:
            if number not in self._cache:
                # Two are kept: the reader is ahead in the next one while `report` asks for this.
                self._cache = dict(list(self._cache.items())[-1:]) | {number: self._plan(number)}
            return self._cache[number]

    def _plan(self, number: int) -> _Epoch:
        sides = self._pieces(number)
        random = np.random.default_rng([self.seed, number])
        return _Epoch(
            sides, *shuffled_epoch(_lengths(sides), self.shapes, self.batch_size, random, _COSTS)
        )


def evaluation_batches(
    sentences: Sequence[str],
    tokenizer: Tokenizer,
    batch_size: int,
    *,
    shapes: int = 8,
    window: int | None = None,
) -> Iterator[SourceBatch]:
    """Sentences to translate, the longest first, each with its place in `sentences`.

    At most `shapes` widths S, chosen as for training; none is left out or cut. With `window`, so
    many sentences come before any later one does, the longest first among them alone.
    """
    pieces = tokenizer.encode_all(sentences)
    if not pieces:
        return
    lengths = _lengths([pieces])
    widths = choose_shapes(lengths, shapes)
    window = window or len(pieces)
    for first in range(0, len(pieces), window):
        order = first + np.argsort(-lengths[first : first + window, 0], kind="stable")
        for index in np.split(order, range(batch_size, len(order), batch_size)):
            width = widths[cheapest(lengths[index[:1]], widths)][0, 0]
            filler = np.full(batch_size - len(index), -1)
            yield SourceBatch(
                *pad([pieces[i] for i in index], batch_size, int(width)),
                np.concatenate([index, filler]).astype(np.int32),
            )


def _lengths(sides: Sequence[list[list[int]]]) -> np.ndarray:
    """[N, sides], EOS included."""
    return np.array([[len(pieces) + 1 for pieces in side] for side in sides]).T


def pad(pieces: list[list[int]], rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Each list and its EOS as one of `rows` rows [width], and their lengths [rows]."""
    array = np.full((rows, width), PAD, np.int32)
    lengths = np.zeros(rows, np.int32)
    for row, ids in enumerate(pieces):
        array[row, : len(ids) + 1] = [*ids, EOS]
        lengths[row] = len(ids) + 1
    return array, lengths


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
