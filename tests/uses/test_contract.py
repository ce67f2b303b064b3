"""What every use must fulfil, on a few of the examples that it generates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.uses.__main__ import USES, find
from experiments.uses.batches import lengths, padded
from experiments.uses.contract import Data, Examples

FEW = 4


def few(examples: Examples) -> Examples:
    return Examples(examples.xs[:FEW], examples.ys[:FEW])


@pytest.fixture(scope="module", params=USES)
def kind(request):
    return find(request.param)


@pytest.fixture(scope="module")
def data(kind):
    return kind.load(None, 3)


@pytest.fixture(scope="module")
def use(kind, data):
    settings = dataclasses.replace(kind.defaults, features=4, batch_size=FEW)
    return kind(settings, data.about)


@pytest.fixture(scope="module")
def params(use):
    return jax.jit(use.init)(jax.random.key(0))


def test_data_are_a_function_of_the_seed(kind, data):
    def same(one, other):
        leaves = zip([*one.xs, *one.ys], [*other.xs, *other.ys], strict=True)
        return all(np.array_equal(a, b) for a, b in leaves)

    again, other = kind.load(None, 3), kind.load(None, 4)
    for name in ("train", "val", "test"):
        assert same(getattr(data, name), getattr(again, name))
    assert not same(few(data.test), few(other.test))


def test_no_example_of_one_split_is_in_another(data):
    train, val, test = (
        {(x.tobytes(), np.asarray(y).tobytes()) for x, y in zip(*split, strict=True)}
        for split in data[:3]
    )
    assert not train & val
    assert not train & test
    assert not val & test


def test_examples_are_of_one_dtype_and_width(data):
    for side in (0, 1):
        arrays = [np.asarray(array) for split in data[:3] for array in split[side]]
        assert len({(a.dtype, a.ndim, a.shape[1:]) for a in arrays}) == 1
        assert all(np.isfinite(a).all() for a in arrays)


def test_neither_padding_nor_what_it_holds_changes_the_loss(use, params, data):
    sizes = lengths(data.train)
    ragged = sizes.min(0) < sizes.max(0)
    examples = few(data.train)
    row = int(np.argmin(lengths(examples).sum(1)))
    exact = padded(examples, [row], 1, lengths(examples)[row])
    if ragged.any():
        more = padded(examples, [row], 1, lengths(examples)[row] + 3 * ragged)
        for side, name, length in ((0, "x", exact.x_length[0]), (1, "y", exact.y_length[0])):
            if ragged[side]:
                getattr(more, name)[0, length:] = 1
    else:
        more = exact
    loss = jax.jit(jax.vmap(use.loss, in_axes=(None, 0)))
    found, wanted = loss(params, more), loss(params, exact)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-4)
    np.testing.assert_array_equal(found[1], wanted[1])
    assert np.all(np.isfinite(wanted[0]))
    assert np.all(np.asarray(wanted[1]) > 0)


def test_every_parameter_has_a_finite_gradient(use, params, data):
    examples = few(data.train)
    batch = padded(examples, range(FEW), FEW, lengths(examples).max(0))

    @jax.jit
    @jax.grad
    def gradient(params, batch, keys):
        losses, _ = jax.vmap(use.loss, in_axes=(None, 0, 0))(params, batch, keys)
        return jnp.sum(losses)

    found = gradient(params, batch, jax.random.split(jax.random.key(1), FEW))
    for path, leaf in jax.tree.leaves_with_path(found):
        assert np.all(np.isfinite(leaf)), path
        assert np.any(leaf), path


def test_scores_are_those_that_are_named(use, params, data):
    part = Data(data.train, few(data.val), few(data.test), data.about)
    found, baseline = use.score(params, part.test), use.baseline(part)
    assert use.metric in found
    assert set(baseline) <= set(found)
    assert use.metric in baseline
    for value in [*found.values(), *baseline.values()]:
        assert isinstance(value, float)
        assert np.isfinite(value)
