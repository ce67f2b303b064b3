"""Searches that keep to the language of an automaton, against brute force.

What may follow on a prefix is what begins a sequence of the language.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import changed
from tests.decode import models as slow
from tests.decode.languages import (
    BOS,
    EOS,
    LANGUAGES,
    V,
    sequences,
)
from tests.support import x64


def stacked(automata):
    """As one, with a leading axis: padded to the same number of states and exceptions."""
    states, width = (max(a.targets.shape[axis] for a in automata) for axis in (0, 1))
    fills = rx.Automaton(-1, np.iinfo(np.int32).max, -1, False, 0, 2**30)

    def padded(leaf, fill):
        whole = np.full((states, width)[: leaf.ndim], fill, leaf.dtype)
        whole[tuple(map(slice, leaf.shape))] = leaf
        return whole

    rows = [jax.tree.map(padded, jax.tree.map(np.asarray, a), fills) for a in automata]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def viable(belongs, length):
    """Every prefix of a sequence of the language, of at most `length` tokens."""
    return {s[:n] for s in sequences(length) if belongs(s) for n in range(len(s) + 1)}


def keeping_to(belongs, length):
    allowed = viable(belongs, length)

    def change(log_probs, history):
        ends = [belongs(history)] * (len(history) <= length)
        keep = [any(ends) if v == EOS else (*history, v) in allowed for v in range(V)]
        return changed.normalised(np.where(keep, log_probs, -np.inf))

    return change


@functools.cache
def searched(limit=4, count=10, width=108):
    """All sparse automata and all models in one compiled search, free and within the limit."""
    names = [name for name, (a, _) in LANGUAGES.items() if a.tokens is not None]
    models = slow.random_models(50, count, V)

    def one(automaton, within, model):
        step = functools.partial(slow.jax_step, model)
        link = rx.following(automaton, eos=EOS, length_limit=within)
        step, state = rx.processed(step, jnp.asarray(model.state), link)
        options = {"bos": BOS, "eos": EOS, "max_length": limit, "length_penalty": -0.4}
        return {
            "wide": rx.beam_search(step, state, beam_size=width, n_best=4, **options),
            "exact": rx.exact_search(step, state, n_best=4, **options),
            "greedy": rx.greedy(step, state, **options),
        }

    with x64():
        run = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
        automata = stacked([LANGUAGES[name][0] for name in names])
        found = jax.tree.map(np.asarray, jax.jit(run)(automata, np.array([99, limit]), models))
    return models, {
        name: [jax.tree.map(lambda leaf, a=a, w=w: leaf[a, w], found) for w in (0, 1)]
        for a, name in enumerate(names)
    }


@pytest.mark.parametrize("within", [False, True])
def test_a_search_that_follows_an_automaton_is_brute_force(within):
    limit = 4
    models, results = searched()
    table = changed.tree(models, BOS, EOS, limit)
    for name, found in results.items():
        change = keeping_to(LANGUAGES[name][1], limit - 1 if within else 9)
        truth = changed.enumerated(table, change, EOS, limit, -0.4)
        changed.assert_best(found[within]["wide"], truth)
        changed.assert_best(found[within]["exact"], truth)


def test_within_the_limit_even_a_beam_of_one_ends_as_it_should():
    _, results = searched()
    ended = 0
    for name, found in results.items():
        greedy = found[True]["greedy"]
        possible = any(LANGUAGES[name][1](s) for s in sequences(3))
        assert (greedy.stops[:, 0] == (rx.StopReason.EOS if possible else 0)).all(), name
        for tokens, length in zip(greedy.tokens[:, 0], greedy.lengths[:, 0], strict=True):
            if possible:
                assert LANGUAGES[name][1](tuple(tokens[: length - 1].tolist()))
                ended += 1
    assert ended == 10 * 10


def test_a_traced_table_compiles_once_and_two_processors_are_the_intersection():
    rng = np.random.default_rng(6)
    tables = rng.integers(-1, 3, (2, 40, 3, V))
    tables[..., EOS] = -1
    accepting = rng.random((2, 40, 3)) < 0.5
    models, traces, limit = slow.random_models(51, 40, V), [], 4

    def one(table, accepting, model):
        traces.append(1)
        step, state = functools.partial(slow.jax_step, model), jnp.asarray(model.state)
        pair = (
            rx.following(rx.automaton(t, a), eos=EOS) for t, a in zip(table, accepting, strict=True)
        )
        step, state = rx.processed(step, state, *pair)
        return rx.beam_search(
            step, state, bos=BOS, eos=EOS, beam_size=108, max_length=limit, n_best=3
        )

    with x64():
        run = jax.jit(jax.vmap(one, (1, 1, 0)))
        found = jax.tree.map(np.asarray, run(tables, accepting, models))
        run(tables[:, ::-1], accepting[:, ::-1], models)
    assert len(traces) == 1
    for i in range(40):

        def walks(sequence, i=i):
            for table, ends in zip(tables[:, i], accepting[:, i], strict=True):
                state = 0
                for token in sequence:
                    state = table[state, token] if state >= 0 else -1
                if state < 0 or not ends[state]:
                    return False
            return True

        ends_early = {s: walks(s) for s in sequences(limit - 1)}
        # Two processors do not see each other's dead ends: their scores are those of a product of
        # masks, which is told here state by state.
        change = masks(tables[:, i], accepting[:, i])
        model = slow.Model(*(leaf[i : i + 1] for leaf in models))
        table = changed.tree(model, BOS, EOS, limit)
        truth = changed.enumerated(table, change, EOS, limit, 0.0)
        changed.assert_best(jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], found), truth)
        for tokens, length in zip(found.tokens[i], found.lengths[i], strict=True):
            if length and tokens[length - 1] == EOS:
                assert ends_early[tuple(tokens[: length - 1].tolist())]


def masks(tables, accepting):
    """For each table in turn, forbids what leads nowhere in that table."""
    alive = []
    for table, ends in zip(tables, accepting, strict=True):
        live = set(np.flatnonzero(ends).tolist())
        for _ in table:
            live |= {s for s in range(len(table)) if live & set(table[s].tolist())}
        alive.append(live)

    def change(log_probs, history):
        for table, ends, live in zip(tables, accepting, alive, strict=True):
            state = 0
            for token in history:
                state = table[state, token] if state in live else -1
            state = state if state in live or not history else -1
            ways = [state >= 0 and int(table[state, v]) in live for v in range(V)]
            ways[EOS] = state >= 0 and ends[state]
            log_probs = changed.normalised(np.where(ways, log_probs, -np.inf))
        return log_probs

    return change
