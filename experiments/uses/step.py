"""One training step of any use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

import recurrax as rx
from experiments.common.schedules import make_schedule
from experiments.common.updates import update
from experiments.uses.contract import Use
from experiments.uses.settings import Settings


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    params: Any
    opt_state: Any
    key: jax.Array
    """Never changes: the step number is folded in."""


def make_optimizer(settings: Settings, steps: int) -> optax.GradientTransformation:
    """Adam behind the clipping chain, on the configured schedule over `steps`."""
    schedule = make_schedule(
        settings.schedule, settings.learning_rate, settings.warmup_steps, steps
    )
    adam = optax.adamw(schedule, weight_decay=settings.weight_decay)
    return rx.clipped(adam, global_norm=settings.clip_norm)


def init_state(use: Use, optimizer: optax.GradientTransformation, settings: Settings) -> TrainState:
    """The state before the first step."""
    key_params, key = jax.random.split(jax.random.key(settings.seed))
    params = jax.jit(use.init)(key_params)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), key)


def make_step(
    use: Use, optimizer: optax.GradientTransformation, mesh: Mesh
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """The compiled training step: the state is donated, the batch sharded over the mesh.

    The loss is the sum over the batch's examples by the number of its terms.
    """

    def summed(params: Any, batch: Any, keys: jax.Array) -> Any:
        """Loss, terms and gradients over the rows of one device, then over the devices."""
        examples, weights = batch

        def loss(params: Any) -> tuple[jax.Array, jax.Array]:
            losses, terms = jax.vmap(use.loss, in_axes=(None, 0, 0))(params, examples, keys)
            return jnp.sum(weights * losses), jnp.sum(weights * terms)

        return jax.lax.psum(jax.value_and_grad(loss, has_aux=True)(params), "data")

    rows = PartitionSpec("data")
    over_devices = jax.shard_map(
        summed,
        mesh=mesh,
        in_specs=(PartitionSpec(), rows, rows),
        out_specs=PartitionSpec(),
        check_vma=False,
    )

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), len(batch[1]))
        (total, terms), gradients = over_devices(state.params, batch, keys)
        params, opt_state, metrics = update(
            optimizer, state.params, state.opt_state, total, gradients, terms
        )
        return TrainState(state.step + 1, params, opt_state, state.key), metrics

    return jax.jit(step, donate_argnums=0)
