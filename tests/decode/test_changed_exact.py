"""Exact search, and what any search claims, under every processor alone and in pairs.

As in `test_processors` one compiled program holds the whole chain, and traced strengths say which
links do anything; the length penalty, of either sign, and the shortest length are each model's own.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import recurrax.decode as rx
from tests.decode import changed
from tests.decode import models as slow
from tests.decode.test_beam import ALPHAS
from tests.decode.test_processors import BOS, CASES, EOS, LINKS, V
from tests.support import x64

LIMIT, COUNT, ROWS = 4, 20, 3
PREFIXES = 1 + 3 + 9 + 27


@functools.cache
def everything():
    """For each case a beam of two, exact and best-first search, leaves [M, ...]; and the truth."""
    models = slow.random_models(60, COUNT, V, sharpness=1.0)
    rng = np.random.default_rng(61)
    alphas, shortest = rng.choice(ALPHAS, COUNT), rng.integers(0, LIMIT, COUNT)
    strengths = [{name: LINKS[name][1 + (name in case)] for name in LINKS} for case in CASES]
    strengths = jax.tree.map(lambda *values: np.stack(values), *strengths)

    def searches(strengths, model, alpha, min_length):
        step = functools.partial(slow.jax_step, model)
        chain = [make(strengths[name]) for name, (make, *_) in LINKS.items()]
        step, state = rx.processed(step, jnp.asarray(model.state), *chain)
        shared = {"bos": BOS, "eos": EOS, "max_length": LIMIT}
        shared |= {"length_penalty": alpha, "min_length": min_length}
        more = shared | {"n_best": ROWS, "budget": PREFIXES}
        beam = rx.beam_search(step, state, beam_size=2, **shared)
        return (
            beam,
            rx.exact_search(step, state, width=2, **more),
            rx.best_first_search(step, state, frontier=PREFIXES, incumbent=beam, **more),
        )

    with x64():
        many = jax.vmap(jax.vmap(searches, (None, 0, 0, 0)), (0, None, None, None))
        found = jax.tree.map(np.asarray, jax.jit(many)(strengths, models, alphas, shortest))
    table = changed.tree(models, BOS, EOS, LIMIT)
    truths = []
    for case in CASES:

        def change(log_probs, history, case=case):
            for name in case:
                log_probs = changed.normalised(LINKS[name][3](log_probs, history))
            return log_probs

        sequences, log_probs, scores = changed.enumerated(table, change, EOS, LIMIT, alphas)
        lengths = np.array([len(sequence) for sequence in sequences])
        scores = np.where(lengths < shortest[:, None], -np.inf, scores)
        truths.append((sequences, log_probs, scores))
    cases = [jax.tree.map(lambda leaf, i=i: leaf[i], found) for i in range(len(CASES))]
    return list(zip(cases, truths, strict=True))


def test_exact_searches_are_enumeration():
    for (_, exact, _), truth in everything():
        changed.assert_best(exact, truth)
        np.testing.assert_array_equal(exact.proven, exact.stops == rx.StopReason.EOS)
        assert not exact.invalid.any()


def test_every_claim_is_true():
    """Nothing outside the rows exceeds the bound; a row that is proven is as good as it says."""
    proven = missed = 0
    for found, (sequences, _, scores) in everything():
        ranked = -np.sort(-scores, axis=1)
        places = {sequence: place for place, sequence in enumerate(sequences)}
        for result in found:
            rows = result.scores.shape[1]
            wrong = result.scores < ranked[:, :rows] - 1e-10
            assert not (result.proven & wrong).any()
            outside = scores.copy()
            for m, n in np.argwhere(result.stops == rx.StopReason.EOS):
                outside[
                    m, places[tuple(result.tokens[m, n, : result.lengths[m, n]].tolist())]
                ] = -np.inf
            assert (outside.max(1) <= result.bound + 1e-10).all()
            proven += result.proven.sum()
            missed += wrong.sum()
    assert missed > 100
    assert proven > 5000
