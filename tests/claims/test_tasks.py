"""The tasks against what they say they are, by counting in Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.claims.tasks import adding, characters, counting, echo, timing


def _examples(task, count=40):
    return jax.device_get(jax.vmap(task.example)(jax.random.split(jax.random.key(0), count)))


def test_adding_is_the_sum_of_the_marked():
    task = adding(11, tests=3)
    xs, totals = _examples(task)
    for x, total in zip(xs, totals, strict=True):
        first, second = np.flatnonzero(x[:, 1])
        assert first < 5 <= second < 11
        np.testing.assert_allclose(total, x[first, 0] + x[second, 0], rtol=1e-6)
    ys = jnp.zeros((11, 1)).at[-1, 0].set(5.0)
    assert task.loss(ys, jnp.asarray(3.0)) == 4
    always = jnp.ones((3, 11, 1))
    np.testing.assert_allclose(
        task.score(always, *task.test), np.mean((np.asarray(task.test[1]) - 1) ** 2), rtol=1e-6
    )


def test_counting_spells_its_strings():
    task = counting(4, 6)
    xs, following = jax.device_get(task.test)
    for n in range(1, 7):
        string = "$" + "a" * n + "b" * n + "$"
        symbols = ["ab$".index(symbol) for symbol in string]
        np.testing.assert_array_equal(xs[n - 1, : 2 * n + 1], np.eye(3)[symbols[:-1]])
        assert not xs[n - 1, 2 * n + 1 :].any()
        open_until = n + 1  # the first b is anyone's guess
        assert (following[n - 1, :open_until] == -1).all()
        np.testing.assert_array_equal(
            following[n - 1, open_until : 2 * n + 1], symbols[open_until + 1 :]
        )
        assert (following[n - 1, 2 * n + 1 :] == -1).all()
    lengths = {int(x[:, 0].sum()) for x in _examples(task)[0]}
    assert lengths == {1, 2, 3, 4}


def test_counting_scores_the_unbroken_run_of_right_strings():
    task = counting(4, 6)
    xs, following = task.test
    right = jax.nn.one_hot(following, 3)
    assert task.score(right, xs, following) == 6
    assert task.score(right.at[3, 7].set(jnp.array([1.0, 0, 0])), xs, following) == 3
    assert task.score(right.at[3, 0].set(jnp.array([1.0, 0, 0])), xs, following) == 6  # open
    assert task.score(jnp.zeros_like(right), xs, following) == 0
    # Open positions have no loss, and the others, however many, the same weight together.
    np.testing.assert_allclose(task.loss(99 * right[3], following[3]), 0, atol=1e-6)
    np.testing.assert_allclose(task.loss(0 * right[3], following[3]), np.log(3), rtol=1e-6)


def test_timing_has_two_spikes_and_their_distance():
    task = timing(3, 4, tests=5)
    xs, (ends, lengths) = _examples(task)
    assert set(lengths) == {0, 1, 2, 3}
    for x, end, length in zip(xs[..., 0], ends, lengths, strict=True):
        start, second = np.flatnonzero(x)
        assert start < 10
        assert (second, second - start) == (end, length + 3)
    xs, (ends, lengths) = task.test
    answers = jnp.zeros((5, xs.shape[1], 4)).at[jnp.arange(5), ends, lengths].set(1.0)
    assert task.score(answers, xs, (ends, lengths)) == 100
    wrong = answers.at[0].set(jnp.roll(answers[0], 1, axis=1))
    np.testing.assert_allclose(task.score(wrong, xs, (ends, lengths)), 80, rtol=1e-6)
    assert task.loss(99 * answers[1], (ends[1], lengths[1])) == 0


def test_characters_follow_each_other():
    task = characters(8, sentences=5, tests=3)
    xs, following = _examples(task)
    np.testing.assert_array_equal(np.argmax(xs[:, 1:], axis=2), following[:, :-1])
    assert (xs.sum(axis=2) == 1).all()
    uniform = jnp.zeros((*task.test[1].shape, task.outputs))
    np.testing.assert_allclose(task.score(uniform, *task.test), np.log2(task.outputs), rtol=1e-5)
    late = 99 * jax.nn.one_hot(task.test[1], task.outputs).at[:, :2].set(0.0)
    assert task.score(late, *task.test) == 0


def test_echo_is_what_came_before():
    task = echo(9, delay=2, tests=3)
    xs, signs = task.test
    assert set(np.unique(xs)) == {-1, 1}
    delayed = jnp.roll(xs, 2, axis=1).at[:, :2].set(7.0)  # what cannot be known does not count
    assert task.score(delayed, xs, signs) == 0
    assert task.score(jnp.zeros_like(xs), xs, signs) == 1


@pytest.mark.parametrize("make", [lambda: adding(6), lambda: timing(2, 3), lambda: echo(5, 1)])
def test_the_test_set_is_the_same_every_time(make):
    jax.tree.map(np.testing.assert_array_equal, make().test, make().test)
