"""Where the kept entries of the influence ds/dtheta [n, P] lie in memory.

Parameters that influence the same elements of the state share a block [K, M]: K elements of the
state, M parameters. Blocks of like size are stacked, [G, K, M], so that a step of all of them is
one batched product: one block of n by P for a dense recurrence, n blocks of one row each for a
diagonal one. A parameter without influence on the state, such as a read-out's, is in no block.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np


class Colored(NamedTuple):
    """A Jacobian [n, N] seen through few rows: those of one colour have no column in common.

    `seeds` [C, n] adds up the rows of each colour; `color` [n] is each row's. An entry (r, c) that
    is not zero for all arguments is then entry (color[r], c) of the product with the seeds.
    """

    seeds: np.ndarray
    color: np.ndarray


class Block(NamedTuple):
    """G blocks. Padding has row n and column P, out of range.

    `rows` [G, K], `columns` [G, M]; `linked` [G, K, K], where an element of the new state depends
    on one of the old; `direct` and `initial` [C, G, M], which of the K rows a parameter reaches
    under each colour, in one step and in the initial state; K where none.
    """

    rows: np.ndarray
    columns: np.ndarray
    linked: np.ndarray
    direct: np.ndarray
    initial: np.ndarray


class Layout(NamedTuple):
    """`blocks`; the colours of ds/dtheta, ds/ds' and dinitial/dtheta; `place` [P] is each
    parameter's number among the columns of all blocks in a row, one past the last where in none.
    """

    blocks: tuple[Block, ...]
    direct: Colored
    state: Colored
    initial: Colored
    place: np.ndarray


def layout_of(direct: Any, state: Any, initial: Any, steps: int | None, sparse: bool) -> Layout:
    """The layout for the entries that are not zero.

    Args:
      direct, initial: sparse booleans [n, P], of one step and of the initial state.
      state: sparse booleans [n, n].
      steps: how many steps of influence to follow, the direct one counted; None for all.
      sparse: False to keep every entry of every row.
    """
    n, total = direct.shape
    groups: dict[bytes, list[int]] = defaultdict(list)
    if sparse:
        for column, rows in enumerate(_columns(direct + initial)):
            if len(rows):
                groups[np.asarray(rows, np.int64).tobytes()].append(column)
    elif n:
        groups[np.arange(n).tobytes()] = list(range(total))
    patterns = [np.frombuffer(key, np.int64) for key in groups]
    merged: dict[bytes, list[int]] = defaultdict(list)
    for rows, columns in zip(_closed(patterns, state, n, steps), groups.values(), strict=True):
        merged[np.sort(rows).tobytes()] += columns
    sizes: dict[tuple[int, int], list[tuple[np.ndarray, list[int]]]] = defaultdict(list)
    for key, columns in merged.items():
        rows = np.frombuffer(key, np.int64)
        # Padding to the largest in a stack then costs a factor of two each way at most.
        sizes[len(rows).bit_length(), len(columns).bit_length()].append((rows, sorted(columns)))
    of_direct, of_initial = colors(direct), colors(initial)
    blocks = [
        _block(members, state, (direct, of_direct), (initial, of_initial))
        for members in sizes.values()
    ]
    place = np.full(total + 1, sum(block.columns.size for block in blocks))
    start = 0
    for block in blocks:
        place[block.columns.ravel()] = start + np.arange(block.columns.size)
        start += block.columns.size
    return Layout(tuple(blocks), of_direct, colors(state), of_initial, place[:total])


def _columns(pattern: Any) -> list[np.ndarray]:
    """The rows in each column, sorted."""
    by_column = pattern.tocsc()
    by_column.sort_indices()
    ends = itertools.pairwise(by_column.indptr)
    return [by_column.indices[start:end] for start, end in ends]


def _closed(patterns: list[np.ndarray], state: Any, n: int, steps: int | None) -> list[np.ndarray]:
    """The rows that each pattern's reach in so many steps."""
    from scipy.sparse import csc_matrix

    starts = np.cumsum([0, *map(len, patterns)])
    indices = np.concatenate([np.zeros(0, np.int64), *patterns])
    reached = csc_matrix((np.ones(len(indices), bool), indices, starts), (n, len(patterns)))
    taken = 1
    while steps is None or taken < steps:
        before, reached = reached.nnz, reached + state @ reached
        taken += 1
        if reached.nnz == before:
            break
    return [np.asarray(rows, np.int64) for rows in _columns(reached)]


def colors(pattern: Any) -> Colored:
    """Greedy colours for the rows of a sparse boolean matrix."""
    n = pattern.shape[0]
    touching = (pattern @ pattern.T).tocsr()
    color = np.zeros(n, int)
    for row in range(n):
        others = touching.indices[touching.indptr[row] : touching.indptr[row + 1]]
        taken = set(color[others[others < row]].tolist())
        color[row] = next(c for c in range(n) if c not in taken)
    seeds = color == np.arange(color.max(initial=-1) + 1)[:, None]
    return Colored(seeds.astype(np.float32), color)


def _block(
    members: list[Any], state: Any, direct: tuple[Any, Colored], initial: tuple[Any, Colored]
) -> Block:
    n, total = direct[0].shape
    height = max(len(rows) for rows, _ in members)
    width = max(len(columns) for _, columns in members)
    rows = np.full((len(members), height), n, np.int32)
    columns = np.full((len(members), width), total, np.int32)
    for g, (own_rows, own_columns) in enumerate(members):
        rows[g, : len(own_rows)] = own_rows
        columns[g, : len(own_columns)] = own_columns

    safe = np.minimum(rows, n - 1)
    links = np.stack([state[own][:, own].toarray() for own in safe])
    real = rows < n
    linked = links & real[:, :, None] & real[:, None, :]

    home = np.full(total + 1, columns.size)  # where in this block a parameter is
    home[columns.ravel()] = np.arange(columns.size)
    home[total] = columns.size
    by_row = (np.arange(len(members))[:, None] * (n + 1) + rows).ravel()  # sorted

    def slots(pattern: Any, colored: Colored) -> np.ndarray:
        entries = pattern.tocoo()
        at = home[entries.col]
        here = at < columns.size
        row, at = entries.row[here], at[here]
        found = np.searchsorted(by_row, (at // width) * (n + 1) + row)
        result = np.full((len(colored.seeds), columns.size), height, np.int32)
        result[colored.color[row], at] = found % height
        return result.reshape(-1, *columns.shape)

    return Block(rows, columns, linked, slots(*direct), slots(*initial))
