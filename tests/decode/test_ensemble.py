"""Several models as one, against enumeration under their mean, computed in NumPy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import changed
from tests.decode import models as slow
from tests.support import x64

BOS, EOS, V, LIMIT = 0, 1, 4, 4
PREFIXES = 1 + 3 + 9 + 27
WEIGHTS = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 2.0], [1 / 3, 1 / 3, 1 / 3]])


def dressed(model):
    """The same model with a state of another structure, and without attention."""

    def step(state, token):
        inner, (logits, _) = slow.jax_step(model, state["inner"][0], token)
        return {"inner": [inner], "steps": state["steps"] + 1}, logits

    return step, {"inner": [jnp.asarray(model.state)], "steps": jnp.int32(0)}


def plain(model):
    return functools.partial(slow.jax_step, model), jnp.asarray(model.state)


def test_a_search_over_several_models_is_brute_force():
    sets, traces = [slow.random_models(60 + i, 30, V) for i in range(3)], []

    def one(weights, models):
        traces.append(1)
        trio = [plain(models[0]), dressed(models[1]), plain(models[2])]
        combined = {
            "linear": rx.ensemble(trio, weights=weights),
            "log_linear": rx.ensemble(trio, weights=weights, mean="log_linear"),
            "fusion": rx.shallow_fusion(trio[0], trio[1], weights[1] - 0.4),
        }
        repetition = rx.repetition_penalty(1.5, V)
        combined["processed"] = rx.processed(*combined["linear"], repetition)
        options = {"bos": BOS, "eos": EOS, "max_length": LIMIT, "length_penalty": 0.6, "n_best": 3}
        return {
            name: (
                rx.beam_search(step, state, beam_size=108, **options),
                rx.exact_search(step, state, budget=PREFIXES, **options),
            )
            for name, (step, state) in combined.items()
        }

    with x64():
        run = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
        found = jax.tree.map(np.asarray, run(WEIGHTS, sets))
        run(WEIGHTS[::-1], sets)
    assert len(traces) == 1
    trees = [changed.tree(models, BOS, EOS, LIMIT) for models in sets]

    def repeated(log_probs, history):
        there = np.isin(np.arange(V), history)
        return changed.normalised(np.where(there, 1.5 * log_probs, log_probs))

    for place, weights in enumerate(WEIGHTS):
        shares = weights / weights.sum()
        truths = {"linear": {}, "log_linear": {}, "fusion": {}}
        for history in trees[0]:
            rows = [table[history] for table in trees]
            mixture = sum(share * np.exp(row) for share, row in zip(shares, rows, strict=True))
            truths["linear"][history] = np.log(mixture)
            product = sum(weight * row for weight, row in zip(weights, rows, strict=True))
            truths["log_linear"][history] = changed.normalised(product)
            fused = rows[0] + (weights[1] - 0.4) * rows[1]
            truths["fusion"][history] = changed.normalised(fused)
        truths["processed"] = truths["linear"]
        for name, table in truths.items():
            change = repeated if name == "processed" else lambda log_probs, _: log_probs
            truth = changed.enumerated(table, change, EOS, LIMIT, 0.6)
            beam, exact = jax.tree.map(lambda leaf, place=place: leaf[place], found[name])
            changed.assert_best(beam, truth)
            changed.assert_best(exact, truth)
            assert exact.proven.all()


def fixed(*probabilities):
    return lambda state, token: (state, jnp.log(jnp.array(probabilities))), jnp.zeros(())


def read(model):
    step, state = model
    return np.exp(rx.log_probs(step(state, jnp.int32(0))[1].logits))


def test_what_one_model_forbids():
    """A mixture allows it, a product does not, and a model of weight 0 has no say."""
    strict, free = fixed(0.5, 0.5, 0.0), fixed(0.2, 0.4, 0.4)
    np.testing.assert_allclose(read(rx.ensemble([strict, free])), [0.35, 0.45, 0.2], 1e-6)
    product = read(rx.ensemble([strict, free], mean="log_linear"))
    np.testing.assert_allclose(product, np.sqrt([1, 2, 0]) / np.sqrt([1, 2, 0]).sum(), 1e-6)
    for mean in "linear", "log_linear":
        ignored = rx.ensemble([strict, free], weights=[0.0, 1.0], mean=mean)
        np.testing.assert_allclose(read(ignored), [0.2, 0.4, 0.4], 1e-6)
    away = read(rx.shallow_fusion(free, strict, -1.0))
    np.testing.assert_allclose(away, [1 / 3, 2 / 3, 0.0], 1e-6)


@pytest.mark.parametrize("mean", ["linear", "log_linear"])
def test_invalid_logits_of_one_model_are_reported(mean):
    step, state = rx.ensemble([fixed(0.5, 0.5), fixed(np.nan, 0.5)], mean=mean)
    assert rx.greedy(step, state, bos=0, eos=1, max_length=2).invalid


def test_attention_comes_from_every_model():
    models = slow.random_models(64, 2, V)
    pair = [plain(slow.one(models, i)) for i in range(2)]
    options = {"bos": BOS, "eos": EOS, "max_length": 3}
    both = rx.greedy(*rx.ensemble(pair), **options)
    fused = rx.greedy(*rx.shallow_fusion(*pair, 0.0), **options)
    alone = rx.greedy(*pair[0], **options)
    np.testing.assert_array_equal(fused.tokens, alone.tokens)
    np.testing.assert_array_equal(fused.attention, alone.attention)
    first, second = (
        np.tanh(model.reads[BOS] @ model.state + model.biases[BOS])
        for model in (slow.one(models, 0), slow.one(models, 1))
    )
    np.testing.assert_allclose(both.attention[0][0, 0], first, rtol=1e-5)
    np.testing.assert_allclose(both.attention[1][0, 0], second, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rx.ensemble([]), ValueError, "ensemble: models must not be empty"),
        (lambda: rx.ensemble([fixed(1.0)[0]]), TypeError, r"must be a pair \(step, state\)"),
        (lambda: rx.ensemble([(1, 2)]), TypeError, "each model's step must be a function"),
        (lambda: rx.ensemble([fixed(1.0)], mean="both"), ValueError, "got 'both'"),
        (lambda: rx.ensemble([fixed(1.0)], weights=[1, 2]), ValueError, r"must have shape \[1\]"),
        (lambda: rx.ensemble([fixed(1.0)], weights=[-1]), ValueError, "must not be negative"),
        (lambda: rx.ensemble([fixed(1.0)], weights=[0.0]), ValueError, "must not all be 0"),
        (
            lambda: rx.shallow_fusion(fixed(1.0), fixed(1.0)[0], 0.3),  # type: ignore[arg-type]
            TypeError,
            r"shallow_fusion: each model must be a pair \(step, state\)",
        ),
        (
            lambda: read(rx.ensemble([fixed(1.0), fixed(0.5, 0.5)])),
            ValueError,
            "ensemble: the models must share one vocabulary",
        ),
        (
            lambda: rx.shallow_fusion(fixed(1.0), fixed(1.0), np.nan),
            ValueError,
            "shallow_fusion: weight must not be NaN",
        ),
    ],
)
def test_errors_teach(make, error, message):
    with pytest.raises(error, match=message):
        make()
