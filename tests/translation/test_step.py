"""A training step is the same on any number of devices, and survives a gradient of NaN."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.devices import data_mesh, replicate, shard
from experiments.translation.batches import Batch
from experiments.translation.config import TrainConfig
from experiments.translation.model import ModelConfig, Translator
from experiments.translation.step import TrainState, make_optimizer, make_step
from tests.support import x64

V, B = 60, 8
MODEL = ModelConfig(
    cell="gru",
    embedding=8,
    encoder=6,
    decoder=8,
    attention_features=5,
    attentional=8,
    tie="all",
    weight_dropout=0.2,
    word_dropout=0.1,
)
CONFIG = TrainConfig(model=MODEL, learning_rate=1e-2)


def batches(count):
    draw = np.random.default_rng(0)
    for _ in range(count):
        source, target = draw.integers(4, V, (2, B, 6), np.int32)
        # Uneven rows, one of them empty: the mean is over pieces, not over devices.
        lengths = np.array([6, 1, 3, 0, 5, 6, 2, 4], np.int32)
        yield Batch(source, lengths, target, lengths[::-1].copy() * (lengths > 0))


def start(mesh):
    translator = Translator(MODEL, V, V)
    optimizer = make_optimizer(CONFIG, steps=100)
    dtype = jax.dtypes.canonicalize_dtype(float)
    params = jax.jit(lambda key: translator.init(key, dtype))(jax.random.key(0))
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), jax.random.key(1))
    return make_step(translator, optimizer, CONFIG, mesh), replicate(state, mesh)


@x64()
def test_the_same_losses_on_one_device_and_on_eight():
    results = []
    for devices in (1, 2, 8):
        mesh = data_mesh(B, jax.devices()[:devices])
        assert mesh.size == devices
        step, state = start(mesh)
        losses = []
        for batch in batches(4):
            state, metrics = step(state, shard(batch, mesh))
            losses.append(metrics["loss"].item())
        assert metrics["tokens"] == 22
        results.append((losses, jax.device_get(state.params)))
    assert results[0][0][-1] != results[0][0][0]
    for result in results[1:]:
        # To the rounding of the log-sum-exp, which is float32.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), results[0], result
        )


def test_a_gradient_of_nan_is_skipped():
    mesh = data_mesh(B, jax.devices()[:1])
    step, state = start(mesh)
    kept = jax.device_get(state.params.source_embedding)
    (batch,) = batches(1)
    for skipped in (1, 2):
        bad = replicate(jnp.full(V, jnp.nan), mesh)
        state = state._replace(params=state.params._replace(output_bias=bad))
        state, metrics = step(state, shard(batch, mesh))
        assert np.isnan(metrics["norm"])
        assert metrics["skipped"] == skipped
        np.testing.assert_array_equal(state.params.source_embedding, kept)
    assert bad.is_deleted()  # the state is donated
    good = replicate(jnp.zeros(V), mesh)
    state = state._replace(params=state.params._replace(output_bias=good))
    state, metrics = step(state, shard(batch, mesh))
    assert metrics["skipped"] == 0
    assert np.isfinite(metrics["loss"])
