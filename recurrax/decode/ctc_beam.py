"""Prefix beam search for CTC: the likeliest labelings, each with all of its alignments."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrax.decode import checks
from recurrax.decode.ctc import CTCResult, frames_of
from recurrax.decode.largest import largest


class LanguageModel(NamedTuple):
    """A model of labelings, to be mixed into a search: a step as `rx.beam_search` takes it."""

    step: checks.Step
    """`(state, token) -> (state, logits)`; its first V tokens are the V labels, the blank among
    them, which it is never asked for."""
    state: Any
    bos: int | jax.Array
    """What it reads first; the blank's index will do."""
    eos: int | jax.Array | None = None
    """What ends a labeling, if the model has such a token: the last factor of its probability."""


class _Prefixes(NamedTuple):
    """K prefixes, each but once, best first."""

    tokens: jax.Array  # [K, L]
    lengths: jax.Array  # [K]
    blank: jax.Array  # [K] log-probability of its alignments that end with the blank
    label: jax.Array  # [K] and of those that end with its last label
    extra: jax.Array  # [K] what is added to the log-probability
    model: Any  # of the language model: (state, its weighted log-probabilities), leaves [K, ...]


def ctc_beam_search(
    logits: jax.typing.ArrayLike,
    *,
    beam_size: int,
    length: int | jax.Array | None = None,
    blank: int = 0,
    n_best: int | None = None,
    max_length: int | None = None,
    language_model: LanguageModel | None = None,
    weight: float | jax.Array = 1.0,
    reward: float | jax.Array = 0.0,
) -> CTCResult:
    """The best labelings that a beam of `beam_size` prefixes finds, for one example (Hannun et al.
    2014).

        score = log p_ctc(labeling) + weight log p_lm(labeling) + reward |labeling|

    A frame extends every prefix by every label, adds up the alignments of equal prefixes, and keeps
    the K best. Equal prefixes are found by comparing them whole, so that one that was dropped and
    comes again meets its own extensions. What is dropped is not lost from sight: its probability is
    `missing`, and `proven` takes it into account; a beam wide enough for everything is exact.

    Equal scores: a prefix that was there already first, then the better parent's, then the lower
    label. Past `length` nothing is looked at. NaN logits give NaN scores.

    Args:
      logits: [T, V], not necessarily normalised; T and V at least 1.
      beam_size: K, the number of prefixes.
      length: the number of frames that count; all if None. Traced.
      blank: the index of the blank.
      n_best: N, the number of rows of the result; all `beam_size` if None.
      max_length: L, the most labels of a labeling; T if None. The work of a frame has a term K^2 L.
      language_model: a `LanguageModel`; it takes K steps for each frame.
      weight: of the language model; traced.
      reward: for each label; traced. With a language model, against its taste for short labelings.

    Raises:
      ValueError, TypeError: an argument out of its range or of a wrong shape, while tracing.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> probabilities = jnp.array([[0.6, 0.4], [0.6, 0.4]])  # the blank, and one label
    >>> print(rx.ctc_greedy(jnp.log(probabilities)).lengths)
    [0]
    >>> result = rx.ctc_beam_search(jnp.log(probabilities), beam_size=2)
    >>> print(result.tokens, (100 * jnp.exp(result.log_probs)).round(), result.proven)
    [[1 0]
     [0 0]] [64. 36.] [ True  True]
    """
    name = "ctc_beam_search"
    logits, frames, blank = frames_of(name, logits, length, blank)
    width, rows = checks.beam(name, beam_size, n_best)
    size, vocabulary = logits.shape
    size = size if max_length is None else checks.positive(name, "max_length", max_length)
    checks.number(name, "weight", weight)
    checks.number(name, "reward", reward)
    dtype, indices = logits.dtype, jnp.arange(width, dtype=jnp.int32)
    weight, reward = jnp.asarray(weight, dtype), jnp.asarray(reward, dtype)
    read, model = _reader(name, language_model, vocabulary, dtype, weight)

    def advance(t, beam: _Prefixes) -> _Prefixes:
        frame = jax.nn.log_softmax(logits[t])
        both = jnp.logaddexp(beam.blank, beam.label)
        newest = beam.tokens[indices, jnp.clip(beam.lengths - 1, 0, size - 1)]
        last = jnp.where(beam.lengths > 0, newest, blank)
        # A label after itself needs a blank between: without one it is the same label, held.
        labels = jnp.arange(vocabulary)
        grown = jnp.where(labels == last[:, None], beam.blank[:, None], both[:, None]) + frame
        room = (labels != blank) & (beam.lengths < size)[:, None]
        grown = jnp.where(room, grown, -jnp.inf)
        has_parent, parent = _parents(beam, both)
        gained = jnp.where(has_parent, grown[parent, last], -jnp.inf)
        grown = grown.at[jnp.where(has_parent, parent, width), last].set(-jnp.inf, mode="drop")
        held_blank = both + frame[blank]
        held_label = jnp.logaddexp(beam.label + frame[last], gained)

        added = jnp.broadcast_to(reward, grown.shape)
        if beam.model is not None:
            added = added + beam.model[1][:, :vocabulary]
        count = min(width, vocabulary)  # the beam cannot take more from one prefix
        values, tokens, _ = largest(grown + beam.extra[:, None] + added, count)
        held = jnp.logaddexp(held_blank, held_label) + beam.extra
        scores, chosen = lax.top_k(jnp.concatenate([held, values.ravel()]), width)
        stays, dead = chosen < width, scores == -jnp.inf
        source = jnp.where(stays, chosen, (chosen - width) // count)
        token = jnp.where(stays, blank, tokens.ravel()[jnp.maximum(chosen - width, 0)])

        before: _Prefixes = jax.tree.map(lambda leaf: leaf[source], beam)
        model = before.model
        if read is not None:

            def renewed(old, new):
                return jnp.where(stays.reshape(-1, *[1] * (old.ndim - 1)), old, new)

            model = jax.tree.map(renewed, model, jax.vmap(read)(model[0], token))
        here = ~stays[:, None] & (jnp.arange(size) == before.lengths[:, None])
        label = jnp.where(stays, held_label[source], grown[source, token])
        return _Prefixes(
            tokens=jnp.where(here, token[:, None], before.tokens),
            lengths=before.lengths + ~stays,
            blank=jnp.where(stays & ~dead, held_blank[source], -jnp.inf),
            label=jnp.where(dead, -jnp.inf, label),
            extra=before.extra + jnp.where(stays, 0, added[source, token]),
            model=model,
        )

    start = _Prefixes(
        tokens=jnp.full((width, size), blank, jnp.int32),
        lengths=jnp.zeros(width, jnp.int32),
        blank=jnp.where(indices == 0, jnp.zeros((), dtype), -jnp.inf),
        label=jnp.full(width, -jnp.inf, dtype),
        extra=jnp.zeros(width, dtype),
        model=jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (width, *leaf.shape)), model),
    )
    beam = lax.fori_loop(0, frames, advance, start)
    most = jnp.maximum(reward, 0) * jnp.minimum(frames, size)
    if language_model is not None:
        most = jnp.where(weight >= 0, most, jnp.inf)
        if language_model.eos is not None:
            beam = beam._replace(extra=beam.extra + beam.model[1][:, language_model.eos])
    return _ranked(beam, most, rows, blank)


def _reader(name, language_model, vocabulary, dtype, weight):
    """A function that reads one token, and what it gives after the start token; None without."""
    if language_model is None:
        return None, None
    if not isinstance(language_model, LanguageModel):
        raise TypeError(f"{name}: language_model must be a LanguageModel, got {language_model!r}")
    name = f"{name}: language_model"
    step, state, bos, eos = language_model
    state, _, known, _ = checks.checked_step(name, step, state)
    if known < vocabulary:
        raise ValueError(f"{name} must know the {vocabulary} labels, got logits for {known}")
    bos = checks.scalar(name, "bos", bos, low=0, high=known - 1)
    if eos is not None:
        checks.scalar(name, "eos", eos, low=0, high=known - 1)

    def read(state, token):
        state, output = step(state, token)
        scores, _ = checks.split_output(output)
        scores = scores.astype(dtype)
        scores = scores - checks.log_normalizer(scores, scores.max())
        # What the model forbids stays forbidden under a negative weight; a weight of 0 hears none.
        weighted = jnp.where(scores == -jnp.inf, -jnp.inf, weight * scores)
        return state, jnp.where(weight == 0, 0, weighted)

    return read, read(state, bos)


def _parents(beam: _Prefixes, log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether the prefix without the last label is in the beam as well, and where, [K] each."""
    places = jnp.arange(beam.tokens.shape[1])
    past = places >= beam.lengths[:, None]
    same = ((beam.tokens[:, None] == beam.tokens) | past[:, None]).all(-1)
    longer = beam.lengths == beam.lengths[:, None] + 1
    alive = log_probs != -jnp.inf
    child = same & longer & alive & alive[:, None]
    return child.any(0), jnp.argmax(child, 0)


def _ranked(beam: _Prefixes, most: jax.Array, rows: int, blank: int) -> CTCResult:
    """The final order; `most` is the most that `extra` can be for what is not in the beam."""
    log_probs = jnp.logaddexp(beam.blank, beam.label)
    missing = jnp.clip(1 - jnp.exp(log_probs).sum(), 0, 1)
    log_missing = jnp.log(missing)
    totals = log_probs + beam.extra
    empty = totals == -jnp.inf
    scores, order = lax.top_k(totals, totals.shape[0])
    # All that is missing may belong to any one labeling, in the beam or not.
    possible = jnp.where(empty, -jnp.inf, jnp.logaddexp(log_probs, log_missing) + beam.extra)
    behind = lax.cummax(possible[order], reverse=True)[1:]
    outside = jnp.where(missing > 0, log_missing + most, -jnp.inf)
    bounds = jnp.maximum(jnp.append(behind, -jnp.inf), outside)
    empty = empty[order]
    return CTCResult(
        tokens=jnp.where(empty[:, None], blank, beam.tokens[order])[:rows],
        lengths=jnp.where(empty, 0, beam.lengths[order])[:rows],
        scores=scores[:rows],
        log_probs=log_probs[order][:rows],
        missing=missing,
        proven=(~empty & (scores >= bounds))[:rows],
    )
