"""One training step: the optimizer, the gradients over a mesh of devices, the update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh, PartitionSpec

import recurrax as rx
from experiments.common.precision import matmul_precision
from experiments.common.schedules import make_schedule
from experiments.common.updates import update
from experiments.translation.config import TrainConfig
from experiments.translation.loss import batch_loss
from experiments.translation.model import Params, Translator
from experiments.translation.tokenizer import BOS


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    params: Params
    opt_state: Any
    key: jax.Array
    """Never changes: the step number is folded in."""


def make_optimizer(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Adam behind the clipping chain, on the configured schedule over `steps`."""
    schedule = make_schedule(config.schedule, config.learning_rate, config.warmup_steps, steps)
    adam = optax.adamw(schedule, b2=0.98, eps=1e-9, weight_decay=config.weight_decay)
    return rx.clipped(adam, global_norm=config.clip_norm)


def make_step(
    translator: Translator,
    optimizer: optax.GradientTransformation,
    config: TrainConfig,
    mesh: Mesh,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """The compiled training step: the state is donated, the batch sharded over the mesh."""

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        key_weights, key_rows = jax.random.split(key)
        keys = jax.random.split(key_rows, batch.source.shape[0])

        def summed_gradients(params: Params, batch: Any, keys: jax.Array) -> Any:
            """Over the rows of one device, then over the devices: they meet once a step."""

            def loss(params: Params) -> tuple[jax.Array, jax.Array]:
                dropped = translator.drop_weights(params, key_weights)
                return batch_loss(
                    translator,
                    dropped,
                    batch,
                    bos=BOS,
                    label_smoothing=config.label_smoothing,
                    teacher_weight=config.teacher_weight,
                    consistency=config.consistency,
                    keys=keys,
                )

            with matmul_precision(config.precision):
                found = jax.value_and_grad(loss, has_aux=True)(params)
            return jax.lax.psum(found, "data")

        (total, count), gradients = jax.shard_map(
            summed_gradients,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("data"), PartitionSpec("data")),
            out_specs=PartitionSpec(),
            check_vma=False,
        )(state.params, batch, keys)
        params, opt_state, metrics = update(
            optimizer, state.params, state.opt_state, total, gradients, count
        )
        return TrainState(state.step + 1, params, opt_state, state.key), metrics

    return jax.jit(step, donate_argnums=0)
