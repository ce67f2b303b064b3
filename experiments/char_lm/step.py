"""One update: truncated backpropagation through time over a mesh of devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

import recurrax as rx
from experiments.char_lm.config import TrainConfig
from experiments.char_lm.model import CharModel, Params
from experiments.common.devices import replicate, shard
from experiments.common.precision import matmul_precision
from experiments.common.schedules import make_schedule
from experiments.common.updates import update


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    params: Params
    opt_state: Any
    carried: Any
    """[B, ...]: what the network remembers of each stream, over the updates."""
    key: jax.Array
    """Never changes: the step number is folded in."""


def make_optimizer(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Adam behind the clipping chain, on the configured schedule over `steps`."""
    schedule = make_schedule(config.schedule, config.learning_rate, config.warmup_steps, steps)
    adam = optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay)
    return rx.clipped(adam, global_norm=config.clip_norm)


def init_state(
    model: CharModel, optimizer: optax.GradientTransformation, config: TrainConfig, mesh: Mesh
) -> TrainState:
    """The state before the first step, on the mesh's devices."""
    key_params, key = jax.random.split(jax.random.key(config.seed))
    params: Any = jax.jit(model.init)(key_params)
    carried = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (config.streams, *leaf.shape)),
        model.initial_state(params),
    )
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), (), key)
    return replicate(state, mesh)._replace(carried=shard(carried, mesh))


def make_step(
    model: CharModel, optimizer: optax.GradientTransformation, config: TrainConfig, mesh: Mesh
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """The compiled training step: the state is donated, the streams sharded over the mesh.

    A chunk [B, k + 1] is k letters of each stream and the one that follows. Now and then a stream
    forgets what it carried: see `TrainConfig.forgets`.
    """
    everywhere, streams = PartitionSpec(), PartitionSpec("data")

    def read(params: Params, letters: jax.Array, *, state: Any, keys: jax.Array, key: jax.Array):
        # One mask for all streams and steps: dropped outside `vmap`, within the derivative.
        dropped = model.drop_weights(params, key)
        return jax.vmap(model.read, in_axes=(None, 0, 0, 0))(dropped, state, letters, keys)

    truncated = rx.truncated_bptt(read, lambda _, scores, following: nats(scores, following).sum())

    def summed(params: Params, carried: Any, chunk: jax.Array, keys: jax.Array, key: jax.Array):
        """Loss and gradients over the streams of one device, then over the devices."""
        letters, following = chunk[:, :-1], chunk[:, 1:]
        with matmul_precision(config.precision):
            carried, found = truncated.step(
                params, rx.TruncatedState(carried), letters, following, keys=keys, key=key
            )
        return jax.lax.psum(found, "data"), carried.state

    over_devices = jax.shard_map(
        summed,
        mesh=mesh,
        in_specs=(everywhere, streams, streams, streams, everywhere),
        out_specs=(everywhere, streams),
        check_vma=False,
    )

    def step(state: TrainState, chunk: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        key_weights, key_streams, key_empty = jax.random.split(key, 3)
        keys = jax.random.split(key_streams, chunk.shape[0])
        forgets = jax.random.bernoulli(key_empty, config.forgets, (chunk.shape[0],))
        empty = model.initial_state(state.params)
        choose = jax.vmap(lambda f, old: jax.tree.map(lambda e, o: jnp.where(f, e, o), empty, old))
        before = choose(forgets, state.carried)
        (total, gradients), carried = over_devices(state.params, before, chunk, keys, key_weights)
        count = jnp.asarray(chunk[:, 1:].size)
        params, opt_state, metrics = update(
            optimizer, state.params, state.opt_state, total, gradients, count
        )
        return TrainState(state.step + 1, params, opt_state, carried, state.key), metrics

    return jax.jit(step, donate_argnums=0)


def nats(scores: jax.Array, letters: jax.Array) -> jax.Array:
    """-log p of each letter [...] under scores [..., V]."""
    return optax.softmax_cross_entropy_with_integer_labels(scores, letters)
