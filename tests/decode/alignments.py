"""Every alignment of CTC, enumerated: what a search and a loss over labelings are tested against.

There are V^T alignments, and the labeling that each spells is the same for every input.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import numpy as np

from tests.decode import models as slow
from tests.support import x64

V, BLANK, BOS, EOS = 4, 0, 4, 5  # the language model knows the last two as well
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)


class Inputs(NamedTuple):
    """One value for each example."""

    logits: np.ndarray
    length: np.ndarray
    weight: np.ndarray
    reward: np.ndarray
    model: slow.Model


def random_inputs(seed: int, count: int, frames: int, sharpness: float = 2.0) -> Inputs:
    rng = np.random.default_rng(seed)
    return Inputs(
        sharpness * rng.normal(size=(count, frames, V)),
        rng.integers(0, frames + 1, count),
        rng.choice([0.0, 0.5, 1.0, -0.3], count, p=[0.1, 0.4, 0.4, 0.1]),
        rng.choice([-0.5, 0.0, 0.7], count),
        slow.random_models(seed + 1, count, V + 2),
    )


def batched(function, *arguments):
    with x64():
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(*arguments))


def spelled(alignment) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(alignment) if label != BLANK)


@functools.cache
def alignments(frames: int):
    """Every alignment [V^T, T], every labeling, and which one each alignment spells."""
    paths = np.array(list(itertools.product(range(V), repeat=frames)), int)
    paths = paths.reshape(V**frames, frames)
    labelings: dict[tuple[int, ...], int] = {}
    which = [labelings.setdefault(spelled(path), len(labelings)) for path in paths.tolist()]
    return paths, list(labelings), np.array(which)


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def extra_of(labelings, inputs: Inputs, i: int, lm: str):
    """What language model and reward add to the score of each labeling."""
    if lm == "none":
        return np.zeros(len(labelings))
    ended = [(*labels, EOS) if lm == "ending" else labels for labels in labelings]
    lengths = np.array(list(map(len, ended)))
    tokens = np.zeros((len(ended), max(1, lengths.max())), int)
    for row, labels in zip(tokens, ended, strict=True):
        row[: len(labels)] = labels
    scores = slow.forced(slow.one(inputs.model, i), BOS, tokens, lengths)[0].sum(1)
    return inputs.weight[i] * scores + inputs.reward[i] * np.array(list(map(len, labelings)))


def enumerated(inputs: Inputs, i: int, lm: str):
    """Every labeling, its log-probability and its score, best first."""
    frames = int(inputs.length[i])
    paths, labelings, which = alignments(frames)
    steps = log_softmax(inputs.logits[i, :frames])
    total = steps[np.arange(frames), paths].sum(1)
    log_probs = np.log(np.bincount(which, np.exp(total)))
    scores = log_probs + extra_of(labelings, inputs, i, lm)
    order = np.argsort(-scores)
    return [labelings[j] for j in order], log_probs[order], scores[order]


def found(result, i: int):
    """The labelings of the rows that hold one."""
    rows = zip(result.tokens[i], result.lengths[i], result.scores[i], strict=True)
    return [tuple(t[:n].tolist()) for t, n, score in rows if score > -np.inf]
