"""The four attentions against NumPy in float64, finite differences, padding and bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from tests.support import x64

S, Q = 5, 3
LENGTHS = np.arange(S + 1, dtype=np.int32)  # the same integers with and without x64
"""One memory of each length in every batch, the empty one included."""
B = len(LENGTHS)


def score_additive(params, values, query):
    return np.array([params.v @ np.tanh(query @ params.w_query + m @ params.w_key) for m in values])


def score_general(params, values, query):
    return np.array([query @ params.w_key.T @ m for m in values])


def score_dot(params, values, query):
    return np.array([query @ m for m in values])


def score_scaled(params, values, query):
    return score_dot(params, values, query) / np.sqrt(len(query))


KINDS = {
    "additive": (lambda: rx.additive(4), score_additive, 2),
    "general": (rx.general, score_general, 2),
    "dot": (rx.dot, score_dot, Q),
    "scaled_dot": (rx.scaled_dot, score_scaled, Q),
}


class Case:
    """One kind: random arguments in float64 and the compiled value and gradient of a batch."""

    def __init__(self, make, score, width):
        self.attention, self.score, self.width = make(), score, width
        rng = self.rng = np.random.default_rng(1)
        with x64():
            params = self.attention.init(jax.random.key(0), jnp.ones(Q), jnp.ones((S, width)))
        self.params = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.3, params)
        self.values = rng.normal(size=(B, S, width))
        self.query = rng.normal(size=(B, Q))
        weights_c, weights_w = rng.normal(size=(B, width)), rng.normal(size=(B, S))

        def number(params, values, query, lengths):
            contexts, weights = self.attend(params, values, query, lengths)
            return (weights_c * contexts).sum() + (weights_w * weights).sum(), (contexts, weights)

        self.jitted = jax.jit(jax.value_and_grad(number, argnums=(0, 1, 2), has_aux=True))

    def attend(self, params, values, query, lengths):
        def one(values, query, length):
            memory = self.attention.memory(params, values, length)
            return self.attention.attend(params, memory, query)

        return jax.vmap(one)(values, query, lengths)

    def __call__(self, params, values, query):
        with x64():
            return jax.tree.map(np.asarray, self.jitted(params, values, query, LENGTHS))


@pytest.fixture(scope="module", params=KINDS, ids=str)
def case(request):
    return Case(*KINDS[request.param])


def test_is_its_equation(case):
    (_, (contexts, weights)), _ = case(case.params, case.values, case.query)
    for b, n in enumerate(LENGTHS):
        valid = case.values[b, :n]
        scores = case.score(case.params, valid, case.query[b])
        expected = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[b, :n], expected, rtol=1e-12)
        np.testing.assert_allclose(contexts[b], expected @ valid, rtol=1e-12, atol=1e-15)
        assert not weights[b, n:].any()
        np.testing.assert_allclose(weights[b].sum(), n > 0, rtol=1e-14)
    assert not contexts[0].any(), "an empty memory gives a zero context"


def test_gradients_are_finite_differences(case):
    arguments = case.params, case.values, case.query
    _, gradients = case(*arguments)
    leaves, treedef = jax.tree.flatten(arguments)
    for n, (leaf, gradient) in enumerate(zip(leaves, jax.tree.leaves(gradients), strict=True)):
        direction = case.rng.normal(size=leaf.shape)
        numbers = []
        for sign in (1, -1):
            moved = [*leaves[:n], leaf + sign * 1e-6 * direction, *leaves[n + 1 :]]
            numbers.append(case(*jax.tree.unflatten(treedef, moved))[0][0])
        numeric = (numbers[0] - numbers[1]) / 2e-6
        np.testing.assert_allclose((gradient * direction).sum(), numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("padding", [np.nan, np.inf, 1e300])
def test_padding_changes_no_bit(case, padding):
    past = np.arange(S) >= LENGTHS[:, None]
    spoiled = np.where(past[..., None], padding, case.values)
    got = case(case.params, spoiled, case.query)
    expected = case(case.params, case.values, case.query)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.tobytes() == b.tobytes()


def test_extreme_scores_are_finite(case):
    for values, query in [(1e4 * case.values, case.query), (1e4 * case.values, -1e4 * case.query)]:
        result = case(case.params, values, query)
        for leaf in jax.tree.leaves(result):
            assert np.isfinite(leaf).all()
        weights = result[0][1][1]
        np.testing.assert_allclose(weights.sum(axis=1), LENGTHS > 0, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_lower_precision(case, dtype):
    """Scores of a few units, rounded after each of A or Q products, move a weight by about as many
    rounding units: 16 bounds that, for context and weights, alike for both dtypes.
    """
    arguments = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype), (case.params, case.values, case.query)
    )
    contexts, weights = jax.jit(case.attend)(*arguments, LENGTHS)
    assert contexts.dtype == weights.dtype == dtype
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), arguments)
    (_, expected), _ = case(*exact)
    unit = float(jnp.finfo(dtype).eps) / 2
    for got, right in zip((contexts, weights), expected, strict=True):
        np.testing.assert_allclose(np.asarray(got, np.float64), right, atol=16 * unit)


def test_init_needs_only_shapes(case):
    query = jax.ShapeDtypeStruct((Q,), "float32")
    values = jax.ShapeDtypeStruct((S, case.width), "float32")
    key = jax.random.key(0)
    params = case.attention.init(key, query, values)
    arrays = case.attention.init(key, jnp.ones(Q), jnp.ones((S, case.width)))
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    assert "object at" not in repr(case.attention)
    assert repr(case.attention).endswith(")")


def test_errors_name_the_argument(case):
    attention, width = case.attention, case.width
    values, query = jnp.ones((S, width)), jnp.ones(Q)
    params = attention.init(jax.random.key(0), query, values)
    memory = attention.memory(params, values)
    for call, error, message in [
        (lambda: attention.memory(None, values), TypeError, "params must be .*, got NoneType"),
        (lambda: attention.attend(None, memory, query), TypeError, "params must be .* NoneType"),
        (lambda: attention.memory(params, query), ValueError, r"values must have shape \[S, M\]"),
        (lambda: attention.memory(params, [1.0]), TypeError, "values must be an array, got list"),
        (lambda: attention.memory(params, values, S + 1), ValueError, "from 0 to 5, got 6"),
        (lambda: attention.memory(params, values, -1), ValueError, "from 0 to 5, got -1"),
        (lambda: attention.memory(params, values, 1.5), TypeError, "length: expected an integer"),
        (lambda: attention.memory(params, values, jnp.ones(2, int)), ValueError, r"shape \(2,\)"),
        (lambda: attention.attend(params, values, query), TypeError, "memory must be the Memory"),
        (lambda: attention.attend(params, memory, values), ValueError, r"query must have .*\[Q\]"),
        (lambda: attention.attend(params, memory, 1.0), TypeError, "query must be an array"),
        (
            lambda: attention.attend(params, memory, jnp.ones(Q + 1)),
            ValueError,
            "query must have width 3, got 4|query must have width .*general",
        ),
        (
            lambda: attention.init(jax.random.key(0), values, values),
            ValueError,
            r"init: query must be .*\[Q\]",
        ),
        (
            lambda: attention.init(jax.random.key(0), query, query),
            ValueError,
            r"init: values must be .*\[S, M\]",
        ),
        (
            lambda: attention.init(jax.random.key(0), query.astype(int), values),
            TypeError,
            "init: query must be floating, got int32",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("make", [rx.dot, rx.scaled_dot])
def test_dot_needs_equal_widths(make):
    with pytest.raises(ValueError, match=r"query must have width 4, got 3; .*general\(\) maps"):
        make().init(jax.random.key(0), jnp.ones(3), jnp.ones((5, 4)))


def test_params_and_memory_of_another_attention():
    """A NamedTuple is a tuple, and keys of one column broadcast: neither may pass."""
    values, query = jnp.ones((5, 3)), jnp.ones(3)
    wide, narrow = rx.additive(4), rx.additive(1)
    params, other = (a.init(jax.random.key(0), query, values) for a in (wide, narrow))
    memory = rx.dot().memory((), values)
    for call in (
        lambda: rx.dot().memory(params, values),
        lambda: rx.scaled_dot().attend(params, memory, query),
    ):
        with pytest.raises(TypeError, match=r"dot\(\): params must be the \(\) .*AdditiveParams"):
            call()
    with pytest.raises(ValueError, match=r"memory\.keys must have width 4, got 1"):
        wide.attend(params, narrow.memory(other, values), query)


@pytest.mark.parametrize("make", [lambda: rx.additive(4), rx.general])
def test_values_must_fit_the_weights(make):
    attention = make()
    params = attention.init(jax.random.key(0), jnp.ones(3), jnp.ones((5, 2)))
    with pytest.raises(ValueError, match="values must have width 2, got 3"):
        attention.memory(params, jnp.ones((5, 3)))


def test_additive_features():
    with pytest.raises(TypeError, match=r"features must be an int, got 2\.5"):
        rx.additive(2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="features must be at least 1, got 0"):
        rx.additive(0)
