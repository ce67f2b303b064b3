"""What a result claims: every bound and every gap against enumeration, and what escalation does."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow
from tests.decode.test_beam import BOS, EOS, random_options
from tests.decode.test_exact import truth
from tests.support import x64


def truths(models, options):
    """The finished sequences of each example, best first."""
    return [truth(models, options, i)[2] for i in range(len(options.min_length))]


def claims_are_true(result, all_rows):
    """Proven rows are the best, and nothing outside the rows exceeds bound or gap."""
    gaps, settled, proven = np.asarray(result.gap), np.asarray(result.settled), 0
    for i, rows in enumerate(all_rows):
        one, gap = jax.tree.map(lambda leaf, i=i: leaf[i], result), gaps[i]
        found = [tuple(t[:n].tolist()) for t, n in zip(one.tokens, one.lengths, strict=True)]
        ended = one.stops == rx.StopReason.EOS
        outside = max((row.score for row in rows if row.tokens not in found), default=-np.inf)
        assert outside <= one.bound + 1e-12
        assert (gap >= 0).all()
        for n, row in enumerate(found):
            if ended[n]:
                assert outside <= one.scores[n] + gap[n] + 1e-12
                assert one.proven[n] == (gap[n] == 0)
            else:
                assert not one.proven[n]
                assert gap[n] == (0 if one.bound == -np.inf else np.inf)
            assert not one.proven[n] or row == rows[n].tokens
            proven += bool(one.proven[n])
        if settled[i]:
            assert ended.sum() == min(len(rows), len(found))
    return proven


@pytest.mark.parametrize(
    ("search", "n_best", "beam_size", "width"),
    [
        (rx.exact_search, 1, 0, 1),
        (rx.exact_search, 3, 2, 2),
        (rx.best_first_search, 2, 0, 2),
        (rx.best_first_search, 3, 3, 1),
    ],
)
@x64()
def test_every_claim_is_true_whatever_the_budget(search, n_best, beam_size, width):
    """Also where the frontier overflows: it holds four prefixes."""
    count, size = 250, 5
    models = slow.random_models(70, count, 4, sharpness=2.0)
    options = random_options(71, count, size)
    rooms = {} if search is rx.exact_search else {"frontier": 4}

    def one(budget, model, options):
        step = functools.partial(slow.jax_step, model)
        shared = {"bos": BOS, "eos": EOS, "max_length": size} | options._asdict()
        found = None
        if beam_size:
            found = rx.beam_search(step, model.state, beam_size=beam_size, **shared)
        more = {"n_best": n_best, "budget": budget, "width": width, "incumbent": found} | rooms
        return search(step, model.state, **shared, **more)

    traced = jax.jit(jax.vmap(one, (None, 0, 0)))
    settled, all_rows = [], truths(models, options)
    for budget in (0, 3, 12, 10**6) if search is rx.exact_search else (2, 40):
        static = jax.jit(jax.vmap(functools.partial(one, budget)))
        if search is rx.exact_search:
            result = traced(budget, models, options)
        else:
            result = static(models, options)
        result = jax.tree.map(np.asarray, result)
        claims_are_true(result, all_rows)
        assert (result.steps <= budget).all()
        settled.append(np.asarray(result.settled).mean())
    assert settled[0] < settled[-1]
    if search is rx.exact_search:
        assert settled[-1] == 1


@x64()
def test_a_beam_that_is_settled_is_left_alone():
    """Nothing is read, and the result is the beam's, bit for bit."""
    count, size = 100, 5
    models = slow.random_models(72, count, 4, sharpness=4.0)
    options = random_options(73, count, size)

    def one(model, options):
        step = functools.partial(slow.jax_step, model)
        shared = {"bos": BOS, "eos": EOS, "max_length": size} | options._asdict()
        found = rx.beam_search(step, model.state, beam_size=3, n_best=2, **shared)
        return found, rx.exact_search(step, model.state, incumbent=found, n_best=2, **shared)

    found, exact = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models, options))
    all_rows = truths(models, options)
    claims_are_true(found, all_rows)
    assert claims_are_true(exact, all_rows) > count
    settled = np.asarray(found.settled)
    assert 10 < settled.sum() < count - 10
    assert (exact.steps[settled] == 0).all()
    assert (exact.steps[~settled] > 0).all()
    same = [
        jax.tree.map(lambda leaf: leaf[settled], r._replace(steps=None)) for r in (found, exact)
    ]
    jax.tree.map(np.testing.assert_array_equal, *same)


@x64()
def test_fewer_rows_than_the_incumbent_has():
    """What was its second row bounds the first; what is exact for one row is exact for five."""
    count, size = 100, 5
    models = slow.random_models(74, count, 3)
    options = random_options(75, count, size)

    def one(model, options):
        step = functools.partial(slow.jax_step, model)
        shared = {"bos": BOS, "eos": EOS, "max_length": size} | options._asdict()
        found = rx.beam_search(step, model.state, beam_size=5, **shared)
        fewer = rx.exact_search(step, model.state, incumbent=found, n_best=1, **shared)
        more = rx.exact_search(step, model.state, incumbent=fewer, n_best=8, **shared)
        return fewer, more

    all_rows = truths(models, options)
    for result in jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models, options)):
        claims_are_true(result, all_rows)
        assert np.asarray(result.settled).all()


@pytest.mark.parametrize("lanes", [1, 4])
@x64()
def test_escalation_sends_only_what_is_left(lanes):
    count, size = 60, 5
    models = slow.random_models(76, count, 4, sharpness=4.0)
    options = random_options(77, count, size)
    shared = {"bos": BOS, "eos": EOS, "max_length": size, "n_best": 2}
    calls, traces = 0, 0

    @jax.jit
    @jax.vmap
    def beam(model, options):
        step = functools.partial(slow.jax_step, model)
        return rx.beam_search(step, model.state, beam_size=2, **shared, **options._asdict())

    @jax.jit
    @jax.vmap
    def exact(found, model, options):
        nonlocal traces
        traces += 1
        step = functools.partial(slow.jax_step, model)
        more = options._asdict() | {"incumbent": found}
        return rx.exact_search(step, model.state, **shared, **more)

    def counted(found, model, options):
        nonlocal calls
        calls += 1
        assert found.bound.shape == (lanes,)
        assert not np.asarray(found.settled).any()
        return exact(found, model, options)

    results = beam(models, options)
    left = ~np.asarray(results.settled)
    whole = rx.escalate(counted, results, models, options, lanes=lanes)
    claims_are_true(whole, truths(models, options))
    assert np.asarray(whole.settled).all()
    assert 5 < left.sum() < count - 5
    assert (calls, traces) == (-(-left.sum() // lanes), 1)
    for name, leaf in whole._asdict().items():
        if name != "attention":
            np.testing.assert_array_equal(leaf[~left], np.asarray(getattr(results, name))[~left])
    again = rx.escalate(counted, whole, models, options, lanes=lanes)
    jax.tree.map(np.testing.assert_array_equal, again, whole)


@x64()
def test_batch_mates_change_nothing():
    """An exact result is the same, bit for bit, beside searches that are long, short or done."""
    count, size = 40, 5
    models = slow.random_models(78, count, 4)
    options = random_options(79, count, size)
    order = np.random.default_rng(0).permutation(count)

    @jax.jit
    @jax.vmap
    def run(model, options):
        step = functools.partial(slow.jax_step, model)
        static = {"bos": BOS, "eos": EOS, "max_length": size, "n_best": 3, "width": 2}
        return rx.exact_search(step, model.state, **static, **options._asdict())

    together = run(models, options)
    permuted = run(*jax.tree.map(lambda leaf: leaf[order], (models, options)))
    mates = slow.random_models(80, count, 4, sharpness=9.0)
    half = np.arange(count) % 2 == 0
    mixed = jax.tree.map(
        lambda a, b: np.where(half.reshape((-1,) + (1,) * (a.ndim - 1)), a, b), models, mates
    )
    beside = run(mixed, options)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[order], b), together, permuted)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[half], b[half]), together, beside)


def test_errors_teach():
    step = functools.partial(slow.table_step, np.ones((1, 3, 3)))()
    found = rx.beam_search(step, np.int32(0), bos=0, eos=1, beam_size=2, max_length=3)
    with pytest.raises(ValueError, match=r"escalate: results must be those of a batch.*\(\)"):
        rx.escalate(lambda *a: a[0], found)
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], found)._replace(bound=np.ones(1))
    fewer = jax.tree.map(lambda leaf: leaf[:, :1] if leaf.ndim > 1 else leaf, batch)
    with pytest.raises(ValueError, match=r"escalate: search must return .*n_best the same"):
        rx.escalate(lambda found: fewer, batch)
