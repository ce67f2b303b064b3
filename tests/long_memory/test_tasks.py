"""Tasks against their definitions; images as they are published."""

import gzip
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.long_memory.digits import load_digits, read_mnist
from experiments.long_memory.tasks import REMEMBERED, SYMBOLS, Target, adding, copy, digits


def drawn(task, count=50):
    xs, targets = jax.vmap(task.draw)(jax.random.split(jax.random.key(0), count))
    return np.asarray(xs), Target(*map(np.asarray, targets))


def test_adding_is_the_sum_of_one_marked_number_of_each_half():
    xs, targets = drawn(adding(11))
    assert xs.shape == (50, 11, 2)
    for (values, marks), value, weight in zip(xs.transpose(0, 2, 1), *targets, strict=True):
        first, second = np.flatnonzero(marks)
        assert first < 5 <= second
        np.testing.assert_allclose(value[-1], values[first] + values[second], rtol=1e-6)
        np.testing.assert_array_equal(weight, np.eye(11)[-1])
    assert len({tuple(marks) for marks in xs[..., 1]}) > 10


def test_copy_shows_symbols_waits_signals_and_wants_them_back():
    xs, targets = drawn(copy(7))
    assert xs.shape == (50, 7 + 2 * REMEMBERED, SYMBOLS + 2)
    shown = xs.argmax(-1)
    assert np.all(xs.sum(-1) == 1)
    assert np.all(shown[:, :REMEMBERED] < SYMBOLS)
    assert np.all(shown[:, REMEMBERED : 6 + REMEMBERED] == SYMBOLS)
    assert np.all(shown[:, 6 + REMEMBERED] == SYMBOLS + 1)
    assert np.all(shown[:, 7 + REMEMBERED :] == SYMBOLS)
    np.testing.assert_array_equal(targets.value[:, -REMEMBERED:], shown[:, :REMEMBERED])
    np.testing.assert_array_equal(targets.weight[0], [0] * (7 + REMEMBERED) + [1 / 4] * REMEMBERED)
    assert len({tuple(row) for row in shown}) > 30


def test_digits_come_pixel_by_pixel():
    train, test = load_digits(None)
    assert len(train.labels) + len(test.labels) == 1797
    plain = digits(None, permuted=False)
    xs, targets = plain.test
    np.testing.assert_array_equal(xs[..., 0], test.pixels)
    np.testing.assert_array_equal(targets.value[:, -1], test.labels)
    rows = {pixels.tobytes(): label for pixels, label in zip(*train, strict=True)}
    for image, label in zip(drawn(plain)[0], drawn(plain)[1].value[:, -1], strict=True):
        assert rows[image[:, 0].tobytes()] == label


def test_permuted_digits_come_in_one_other_order_for_all_images():
    (xs, _), (ys, _) = digits(None, permuted=False).test, digits(None, permuted=True).test
    xs, ys = np.asarray(xs)[..., 0], np.asarray(ys)[..., 0]
    columns = sorted(map(bytes, xs.T.copy()))
    assert columns == sorted(map(bytes, ys.T.copy()))
    assert not np.array_equal(xs, ys)


def test_only_the_right_answer_is_right():
    task = adding(5)
    due = Target(jnp.asarray(1.2), jnp.asarray(1.0))
    answers = jnp.array([[1.161], [1.239], [1.159], [1.241]])
    found = jax.vmap(task.right, in_axes=(0, None))(answers, due)
    np.testing.assert_array_equal(found, [True, True, False, False])
    np.testing.assert_allclose(task.loss(jnp.array([1.5]), due), 0.09, rtol=1e-5)
    task = copy(3)
    due = Target(jnp.asarray(2), jnp.asarray(0.25))
    y = jnp.array([0.1, 0.2, 0.4, 0.3])
    assert bool(task.right(y, due))
    np.testing.assert_allclose(
        task.loss(y, due), -np.log(np.exp(0.4) / np.exp(y).sum()) / 4, rtol=1e-5
    )


def write_idx(path, array, pack=False):
    content = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}i", *array.shape
    )
    content += array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


def test_mnist_is_read_plain_and_packed_and_damage_is_named(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 4, 3)), rng.integers(0, 10, 5)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels, pack=True)
    found = read_mnist(tmp_path, "train")
    np.testing.assert_allclose(found.pixels, images.reshape(5, 12) / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.labels, labels)
    with pytest.raises(UserError, match=r"cannot read .*t10k-images"):
        read_mnist(tmp_path, "t10k")
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\1\0\0\0\5abc"))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte is not an idx file"):
        read_mnist(tmp_path, "train")
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels[:4], pack=True)
    with pytest.raises(UserError, match="has 5 train images and 4 labels"):
        read_mnist(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="not a readable gzip file"):
        read_mnist(tmp_path, "train")
