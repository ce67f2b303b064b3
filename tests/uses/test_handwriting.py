"""Handwriting: what the script keeps, the reader, the density against NumPy, what is generated."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from experiments.common.errors import UserError
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.handwriting import data as source
from experiments.uses.handwriting.drawings import draw_density, draw_rows, strokes
from experiments.uses.handwriting.mixture import draw, expectation, log_density, mixture
from experiments.uses.handwriting.use import GAUSSIANS, About, Handwriting
from experiments.uses.settings import Settings
from tests.support import x64


def test_generated_letters_follow_the_rules():
    letters = source.generate(5, 200)
    again = source.generate(5, 200)
    assert all(np.array_equal(a, b) for a, b in zip(letters, again, strict=True))
    assert not np.array_equal(letters[0], source.generate(6, 1)[0])
    kinds = set()
    for letter in letters:
        assert letter.dtype == np.float32
        assert set(letter[:-1, 2]) <= {source.DOWN, source.LIFTED}
        assert letter[-1, 2] == source.DONE
        lines = strokes(letter)
        assert sum(map(len, lines)) == len(letter)
        spine, rest = lines[0], lines[1:]
        height = np.ptp(spine[:, 1])
        chord = spine[-1] - spine[0]
        # How far the middle lies from the straight line between the ends, and how slanted that is
        # compared with what slant a hand may have.
        off = (spine - spine[0]) @ [chord[1], -chord[0]] / np.hypot(*chord) / height
        last = rest[-1]
        if abs(off).max() > 0.17:
            kind = "bow"
            assert np.hypot(*(last[0] - spine[0])) < 0.35 * height
            assert len(last) == 2
        elif last[0, 0] < spine[-1, 0] and np.ptp(last[:, 1]) < 0.15 * height:
            kind = "stem"
            assert last[:, 1].mean() > spine[-1, 1]
        else:
            kind = "slash"
            assert chord[0] < -0.1 * height
        limbs = rest if kind == "slash" else rest[:-1]
        kinds.add((kind, len(limbs)))
        places = np.array([limb[0, 1] for limb in limbs])
        wanted = np.arange(1, len(limbs) + 1) / (len(limbs) + 1)
        np.testing.assert_allclose((places - spine[0, 1]) / height, wanted, atol=0.12)
        widths = [np.ptp(limb[:, 0]) / height for limb in limbs]
        assert np.ptp(widths) < 0.12  # one kind of limb
        for limb in limbs:
            assert np.hypot(*(spine - limb[0]).T).min() < 0.15 * height
    assert len(kinds) == 9


def write(path: Path, **changed: np.ndarray | None) -> None:
    arrays = {
        "train_strokes": np.array([[1, 2, 0], [3, 4, 1], [-5, 6, 0], [7, 8, 1]], np.int16),
        "train_lengths": np.array([3, 1], np.int32),
        "valid_strokes": np.array([[0.25, 2, 1]], np.float32),
        "valid_lengths": np.array([1]),
        "test_strokes": np.array([[9, 9, 1], [1, 1, 1]]),
        "test_lengths": np.array([2]),
    }
    arrays["train_strokes"][2, 2] = 1
    np.savez(path, **{k: v for k, v in {**arrays, **changed}.items() if v is not None})


def test_reads_drawings(tmp_path: Path):
    write(tmp_path / "kanji.npz")
    for path in (tmp_path, tmp_path / "kanji.npz"):
        train, valid, test = source.read(path)
        assert [len(one) for one in train] == [3, 1]
        np.testing.assert_array_equal(train[0][:, 2], [0, 1, 2])
        noise = train[0][:, :2] - [[1, 2], [3, 4], [-5, 6]]
        assert (abs(noise) <= 0.5).all()
        assert np.all(noise)
        np.testing.assert_array_equal(valid[0], [[0.25, 2, 2]])  # no whole numbers: no noise
        np.testing.assert_array_equal(test[0][:, 2], [1, 2])
        np.testing.assert_array_equal(test[0], source.read(path)[2][0])
    data = Handwriting.load(tmp_path, 0)
    assert data.about.scale == pytest.approx(np.concatenate(train)[:, :2].std())
    assert data.about.longest == 3
    np.testing.assert_array_equal(data.train.xs[0][0], [0, 0, source.LIFTED])
    np.testing.assert_array_equal(data.train.xs[0][1:], data.train.ys[0][:-1])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"valid_lengths": None}, "lacks an array"),
        ({"train_strokes": np.ones((4, 2))}, r"train_strokes must be numbers \[N, 3\]"),
        ({"train_strokes": np.array([["a"] * 3] * 4)}, "train_strokes must be numbers"),
        ({"train_strokes": np.array([[1, 2, 1]] * 3)}, "add up to 4, but there are 3"),
        ({"train_lengths": np.array([4, 0])}, "train_lengths must be whole numbers from 1"),
        ({"train_lengths": np.array([3.0, 1.0])}, "train_lengths must be whole numbers"),
        ({"valid_strokes": np.array([[math.nan, 2, 1]])}, "valid_strokes must be finite"),
        ({"valid_strokes": np.array([[1, 2, 3]])}, "last column 0 or 1"),
        ({"test_strokes": np.array([[1, 1, 1], [9, 9, 0]])}, "must lift the pen"),
        ({"test_strokes": np.array([[1, 2, 1], None, 3], object)}, "cannot read"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, changed: dict, told: str):
    write(tmp_path / "omniglot.npz", **changed)
    with pytest.raises(UserError, match=told):
        source.read(tmp_path)


def test_missing_and_cut_files_are_told(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no kanji\.npz"):
        source.read(tmp_path)
    with pytest.raises(UserError, match="cannot read"):
        source.read(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(UserError, match="cannot read"):
        source.read(tmp_path / "a.npy")
    write(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (
        whole[: len(whole) // 2],
        b"",
        b"strokes",
        whole[:100] + b"x" * 40 + whole[140:],
    ):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.npz"):
            source.read(tmp_path / "a.npz")


OUTPUTS = np.random.default_rng(1).normal(size=18)


def loop(outputs: np.ndarray, x: float, y: float) -> float:
    """Graves' equations 18 to 25, as they stand, for M = 3."""
    w, mean_x, mean_y, s_x, s_y, r = outputs.reshape(6, 3)
    density = 0.0
    for j in range(3):
        pi = math.exp(w[j]) / sum(math.exp(v) for v in w)
        sigma_x, sigma_y, rho = math.exp(s_x[j]), math.exp(s_y[j]), math.tanh(r[j])
        a, b = (x - mean_x[j]) / sigma_x, (y - mean_y[j]) / sigma_y
        z = a**2 + b**2 - 2 * rho * a * b
        norm = 2 * math.pi * sigma_x * sigma_y * math.sqrt(1 - rho**2)
        density += pi * math.exp(-z / (2 * (1 - rho**2))) / norm
    return density


@x64()
def test_density_against_the_equations():
    points = np.random.default_rng(2).normal(size=(5, 2))
    found = jax.vmap(log_density, (None, 0))(mixture(jnp.asarray(OUTPUTS)), jnp.asarray(points))
    wanted = [math.log(loop(OUTPUTS, *point)) for point in points]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    # Where the correlation rounds to 1, and far away, it and its gradient are still finite.
    steep = jnp.asarray(np.where(np.arange(18) >= 15, 25.0, OUTPUTS))
    value, gradient = jax.value_and_grad(lambda o: log_density(mixture(o), points[0]))(steep)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@x64()
def test_density_integrates_to_one_and_has_its_mean():
    """Also with a bias, which makes it narrower; and what is drawn has its moments."""
    side = np.linspace(-15, 15, 601)
    area = (side[1] - side[0]) ** 2
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    entropies = []
    for bias in (0.0, 0.5):
        found = mixture(jnp.asarray(OUTPUTS), bias)
        log_p = np.asarray(jax.vmap(log_density, (None, 0))(found, jnp.asarray(grid)))
        p = np.exp(log_p)
        assert p.sum() * area == pytest.approx(1, abs=1e-6)
        mean = p @ grid * area
        np.testing.assert_allclose(expectation(found), mean, atol=1e-5)
        drawn = jax.vmap(draw, (0, None))(jax.random.split(jax.random.key(0), 40000), found)
        cov = (grid - mean).T @ ((grid - mean) * p[:, None]) * area
        np.testing.assert_allclose(np.mean(drawn, 0), mean, atol=5 * np.sqrt(cov.max() / 40000))
        np.testing.assert_allclose(np.cov(drawn.T), cov, rtol=0.1, atol=0.05 * cov.max())
        entropies.append(-(p * log_p).sum() * area)
    assert entropies[1] < entropies[0] - 0.5


@pytest.fixture(scope="module")
def use():
    return Handwriting(Settings(features=4, layers=2, dropout=0.0), About(7.0, 40))


@pytest.fixture(scope="module")
def params(use):
    return jax.jit(use.init)(jax.random.key(0))


def test_loss_is_in_the_units_of_the_data(use, params):
    """Against a loop of layers that all see the input, and of the density of offsets."""
    drawing = source.generate(0, 1)[0][:5]
    x = np.concatenate([[[0, 0, source.LIFTED]], drawing[:-1]]).astype(np.float32)
    loss, terms = use.loss(params, Example(x, np.int32(5), drawing, np.int32(5)))
    (first, second), _, dense = params.network
    states = [rx.lstm(4).initial_state(first), rx.lstm(4).initial_state(second)]
    total = 0.0
    for (dx, dy, pen), (next_x, next_y, q) in zip(x, drawing, strict=True):
        seen = jnp.array([dx / 7, dy / 7, *(np.arange(3) == pen)], jnp.float32)
        for number, layer in enumerate((first, second)):
            states[number], h = rx.lstm(4).step(layer, states[number], seen)
            seen = jnp.concatenate([seen, h])
        seen, w, b = (np.asarray(a, np.float64) for a in (seen, *dense))
        outputs = seen @ w + b
        parts = outputs[:-3].reshape(6, GAUSSIANS)
        pi = np.exp(parts[0]) / np.exp(parts[0]).sum()
        sigma, rho = np.exp(parts[3:5]) * 7, np.tanh(parts[5])  # in the units of the data
        a, b = (np.array([[next_x], [next_y]]) - 7 * parts[1:3]) / sigma
        z = (a**2 + b**2 - 2 * rho * a * b) / (1 - rho**2)
        p = pi @ (np.exp(-z / 2) / (2 * np.pi * sigma[0] * sigma[1] * np.sqrt(1 - rho**2)))
        pens = np.exp(outputs[-3:]) / np.exp(outputs[-3:]).sum()
        total -= math.log(p) + math.log(pens[int(q)])
    assert terms == 5
    assert loss == pytest.approx(total, rel=1e-5)


def test_baseline_is_a_density_too(use):
    """Of its own kind of draws it is the entropy, and the error two coordinates' variance."""
    random = np.random.default_rng(0)
    cov, line = np.array([[4.0, 3.0], [3.0, 9.0]]), np.array([[0.5, -1.0], [2.0, 0.0]])

    def sides():
        pens = random.choice([0, 2], (2, 4000))
        before = np.column_stack([random.normal(0, 5, (4000, 2)), pens[0]])
        noise = random.multivariate_normal([1, -2], cov, 4000)
        offsets = before[:, :2] @ line * (1 + pens[0])[:, None] + noise
        after = np.column_stack([offsets, pens[1]])
        return Examples(*([side.astype(np.float32)] for side in (before, after)))

    found = use.baseline(Data(sides(), Examples([], []), sides()))
    entropy = 1 + math.log(2 * math.pi) + np.log(np.linalg.det(cov)) / 2 + math.log(2)
    assert found["nats"] == pytest.approx(entropy, abs=0.05)
    assert found["squared_error"] == pytest.approx(13 / 49, rel=0.05)


def test_drawings_end_by_themselves(use, params, tmp_path: Path):
    made = use.generate(params, jax.random.key(1), 12)
    assert any(len(one) < 40 for one in made)
    for one in made:
        assert one.shape[1] == 3
        assert not (one[:-1, 2] == source.DONE).any()
        assert one[-1, 2] == source.DONE or len(one) == 40
    # A network that always lifts the pen for good makes drawings of one point.
    network = params.network
    dense = network[2]._replace(b=network[2].b.at[-1].set(100.0))
    ended = use.generate(params._replace(network=(*network[:2], dense)), jax.random.key(1), 3, 1.0)
    assert [len(one) for one in ended] == [1, 1, 1]
    draw_rows({"made": made[:2], "ended $": ended}, tmp_path / "rows.png")
    outputs = jnp.tile(jnp.asarray(OUTPUTS, jnp.float32), (len(made[0]), 1))
    draw_density(jax.vmap(mixture)(outputs), made[0], 7.0, tmp_path / "density.png", points=20)
    for name in ("rows", "density"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
