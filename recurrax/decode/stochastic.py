"""Stochastic beam search: whole sequences drawn without replacement, in one search."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import split_key
from recurrax.decode import checks
from recurrax.decode.backtrace import Search
from recurrax.decode.largest import largest
from recurrax.decode.penalties import LengthPenalty
from recurrax.decode.problem import Problem, problem
from recurrax.decode.records import BeamResult, StopReason
from recurrax.decode.search import Pool, loop, run


class SampleSet(NamedTuple):
    """N different sequences, drawn without replacement; the order is that of drawing.

    With `f` of a sequence, `(weights * f).sum()` is an unbiased estimate of its expectation under
    the sampling distribution, and `(weights * f).sum() / weights.sum()` a less noisy, consistent
    one. Fewer sequences than N: the rows beyond them are empty and weigh nothing.
    """

    rows: BeamResult
    """The sequences, with the model's log-probabilities. Nothing is proven, the bound is +inf."""
    log_probs: jax.Array
    """[N] under the sampling distribution: the model's, if no minimum length changes it."""
    perturbed: jax.Array
    """[N] the log-probabilities with Gumbel noise that the rows are sorted by."""
    threshold: jax.Array
    """[] the perturbed log-probability of the next sequence, which was not drawn; -inf if none."""
    log_inclusion: jax.Array
    """[N] log P(drawn), given the threshold: log(1 - exp(-exp(log_prob - threshold)))."""
    weights: jax.Array
    """[N] P(sequence) / P(drawn); 0 in empty rows."""


def stochastic_beam_search(
    step: checks.Step,
    state: Any,
    *,
    key: jax.Array,
    bos: int | jax.Array,
    eos: int | jax.Array,
    samples: int,
    max_length: int,
    length_limit: int | jax.Array | None = None,
    min_length: int | jax.Array = 0,
    length_penalty: float | jax.Array | LengthPenalty = 0.0,
) -> SampleSet:
    """`samples` different sequences, drawn without replacement, for one example. Consumes `key`.

    Every sequence has its log-probability perturbed by Gumbel noise of its own; the N largest are a
    sample without replacement (Gumbel top-k). The search finds them top down: the noise of a prefix
    is the largest of its continuations, so that of its children is drawn under this maximum G::

        G' = log_prob' + Gumbel(0, 1)                  for every child
        G_child = -log(exp(-G) - exp(-max G') + exp(-G'))

    and a beam of N + 1 that is ordered by G loses none of the N + 1 largest (Kool, van Hoof and
    Welling 2019). The last of them is the threshold, which makes the others' inclusion independent.

    The noise of a prefix depends on the key and on its tokens alone: fewer samples are the first of
    more, and the same whatever stands beside them. The first one is an ancestral sample.

    Args:
      step, state, bos, eos, max_length, length_limit: see `rx.beam_search`. A temperature and the
        like are changes of the step: see `rx.processed`.
      key: of random numbers, `jax.random.key(...)`.
      samples: N, how many sequences to draw.
      min_length: the fewest tokens of a sequence; before it the end token is not drawn, and the
        sampling distribution is renormalised over the others.
      length_penalty: for the scores of the rows; it changes nothing else.

    Returns:
      A `SampleSet`. A sequence that reaches the limit is drawn like any other, and is `CUT`.

    Raises:
      ValueError, TypeError: an argument out of its range, or a step that does not return what it
        should, while tracing.
    """
    name = "stochastic_beam_search"
    given = problem(
        name,
        step,
        state,
        bos=bos,
        eos=eos,
        max_length=max_length,
        length_limit=length_limit,
        min_length=min_length,
        length_penalty=length_penalty,
    )
    width = checks.positive(name, "samples", samples) + 1  # the last one is the threshold
    root_key, key = split_key(name, key)
    parts = loop(
        _sampled(given, key),
        width,
        width,
        expand=functools.partial(_expand, given.eos),
        root=jax.random.gumbel(root_key, (), given.dtype),
        carried=jnp.zeros((), given.dtype),
        cut_compete=True,
    )
    return _sample_set(given, parts.finish(run(parts)))


class _State(NamedTuple):
    inner: Any
    key: jax.Array
    t: jax.Array


def _sampled(given: Problem, key: jax.Array) -> Problem:
    """Its logits are the log-probabilities to draw by, and its score is what is perturbed.

    Beside the attention it gives by how much a minimum length raises each of them.
    """

    def step(state: _State, token: jax.Array):
        inner, output = given.step(state.inner, token)
        logits, attention = checks.split_output(output)
        logits = logits.astype(given.dtype)
        barred = (jnp.arange(given.vocabulary) == given.eos) & (state.t + 1 < given.min_length)
        allowed = jnp.where(barred, -jnp.inf, logits)
        normalizer = checks.log_normalizer(logits, logits.max())
        chosen_from = checks.log_normalizer(allowed, allowed.max())
        # Where every token is forbidden there is nothing to normalise, and no NaN to make.
        shift = jnp.where(chosen_from == -jnp.inf, 0, chosen_from)
        new_state = _State(inner, jax.random.fold_in(state.key, token), state.t + 1)
        return new_state, (allowed - shift, (attention, normalizer - shift))

    raised = jax.ShapeDtypeStruct((), given.dtype)
    return given._replace(
        step=step,
        state=_State(given.state, key, jnp.zeros((), jnp.int32)),
        min_length=jnp.zeros((), jnp.int32),
        penalty=lambda perturbed, length: perturbed,
        attention=(given.attention, raised),
    )


def _expand(
    eos: jax.Array, search: Search, states: _State, logits: jax.Array, may_end: jax.Array
) -> Pool:
    """A pool whose totals are perturbed, and which carries the log-probabilities.

    `logits` [K, V] are normalised, and know already what may end.
    """
    width, vocabulary = logits.shape
    top = logits.max(-1)
    broken = jnp.isnan(top) | (top == jnp.inf)
    dead = (search.log_probs == -jnp.inf) | ~jnp.isfinite(top)

    def noise(key):
        # The keys of the children are the key with their tokens folded in: this is none of them.
        key = jax.random.fold_in(key, vocabulary)
        return jax.random.gumbel(key, (vocabulary,), logits.dtype)

    # K of a hypothesis can live on and one can end.
    values, tokens, highest = largest(
        logits + jax.vmap(noise)(states.key), min(width + 1, vocabulary)
    )
    log_probs = jnp.take_along_axis(logits, tokens, 1)
    total = search.carried[:, None]
    perturbed = _under(search.log_probs[:, None], total + highest[:, None], total + values)
    possible = ~dead[:, None] & (log_probs > -jnp.inf)
    return Pool(
        totals=jnp.where(possible, perturbed, -jnp.inf).ravel(),
        tokens=tokens.ravel(),
        parents=jnp.repeat(jnp.arange(width, dtype=jnp.int32), tokens.shape[1]),
        log_probs=log_probs.ravel(),
        ends=(tokens == eos).ravel(),
        end_totals=jnp.full(width, -jnp.inf, logits.dtype),
        invalid=(broken & (search.log_probs > -jnp.inf)).any(),
        carried=(total + log_probs).ravel(),
    )


def _under(maximum: jax.Array, highest: jax.Array, value: jax.Array) -> jax.Array:
    """-log(exp(-maximum) - exp(-highest) + exp(-value)), as appendix B.3 of Kool et al. has it."""
    gap = value - highest
    # log(1 - exp(gap)), accurate at both ends; -inf for the highest itself
    rest = jnp.where(gap > -0.6931472, jnp.log(-jnp.expm1(gap)), jnp.log1p(-jnp.exp(gap)))
    v = maximum - value + rest
    return maximum - jnp.maximum(v, 0) - jnp.log1p(jnp.exp(-jnp.abs(v)))


def _sample_set(given: Problem, found: BeamResult) -> SampleSet:
    """The first N of the N + 1 rows of a search whose scores are perturbed log-probabilities."""
    attention, raised = found.attention
    threshold = found.scores[-1]
    per_row = found._replace(bound=None, steps=None, invalid=None, attention=attention)
    own: BeamResult = jax.tree.map(lambda leaf: leaf[:-1], per_row)
    filled = own.stops != StopReason.EMPTY
    token_log_probs = own.token_log_probs - raised[:-1]
    log_probs = jnp.where(filled, token_log_probs.sum(-1), -jnp.inf)
    drawn_by = jnp.where(filled, own.token_log_probs.sum(-1), -jnp.inf)

    exceeds = jnp.exp(jnp.where(filled, drawn_by - threshold, 0))
    tiny = jnp.finfo(exceeds.dtype).tiny
    log_inclusion = jnp.where(
        exceeds > tiny, jnp.log(-jnp.expm1(-jnp.maximum(exceeds, tiny))), drawn_by - threshold
    )
    log_inclusion = jnp.where(filled, log_inclusion, -jnp.inf)
    rows = own._replace(
        scores=given.score(log_probs, jnp.maximum(own.lengths, 1)),
        log_probs=log_probs,
        token_log_probs=token_log_probs,
        proven=jnp.zeros(filled.shape, bool),
        bound=jnp.full((), jnp.inf, given.dtype),
        steps=found.steps,
        invalid=found.invalid,
    )
    return SampleSet(
        rows=rows,
        log_probs=drawn_by,
        perturbed=own.scores,
        threshold=threshold,
        log_inclusion=log_inclusion,
        weights=jnp.where(filled, jnp.exp(drawn_by - jnp.where(filled, log_inclusion, 0)), 0),
    )
