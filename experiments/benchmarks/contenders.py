"""Who takes part: recurrax and its peers, compiled, checked to do the same work, ready to time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import recurrax as rx
from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Contender, Missing, Peer, load, returned_gradients
from experiments.benchmarks.report import ROUNDED
from experiments.common.devices import data_mesh, replicate, shard
from experiments.common.errors import one_line


class Absence(NamedTuple):
    """Who does not take part, and why; `failed` where it should have."""

    label: str
    reason: str
    failed: bool


def ours(work: Work, precision: str | None = None) -> Peer:
    """recurrax, as its documentation shows."""
    unroll = functools.partial(rx.unroll, work.cell, precision=precision)
    unroll = jax.vmap(unroll, in_axes=(None, 0))
    return Peer(lambda params: params, lambda params, xs: unroll(params, xs)[1])


def training_step(peer: Peer) -> Callable[[Any, jax.Array], Any]:
    """The gradients of mean(h^2) with respect to the params."""
    return jax.grad(lambda params, xs: jnp.mean(peer.forward(params, xs) ** 2))


def assemble(
    work: Work, peers: Sequence[str], *, sharded: bool = True, by_xla: bool = False
) -> tuple[list[Contender], list[Absence]]:
    """Every contender, recurrax first, compiled and checked; and the peers that are missing.

    Who is sharded has the batch split by hand, or by XLA. A peer that fails in its own code, or
    whose results differ, is not timed but told of.
    """
    mesh = data_mesh(work.shape.B)
    meshes = [None, mesh] if sharded and mesh.size > 1 else [None]

    def each(name: str, peer: Peer) -> list[Contender]:
        return [_from_jax(name, peer, work, mesh, by_xla) for mesh in meshes]

    contenders = each("recurrax", ours(work)) + each(ROUNDED, ours(work, "BF16_BF16_F32"))
    absences = []
    expected = _results(contenders[0])
    for name in peers:
        try:
            adapter = load(name)
            if hasattr(adapter, "contender"):
                found = [adapter.contender(work)]
            else:
                found = each(name, adapter.peer(work))
        except Missing as reason:
            absences.append(Absence(name, str(reason), False))
            continue
        except Exception as error:  # a peer's version that knows not this JAX, say
            absences.append(_failure(name, error))
            continue
        contenders += found
    agreeing = contenders[:1]
    for contender in contenders[1:]:
        try:
            check_same(contender, _results(contender), expected)
        except Exception as error:
            absences.append(_failure(contender.label, error))
        else:
            agreeing.append(contender)
    return agreeing, absences


def _failure(label: str, error: Exception) -> Absence:
    text = one_line(error)
    return Absence(label, f"{type(error).__name__}: {text[:300]}", True)


def _from_jax(name: str, peer: Peer, work: Work, mesh: Mesh | None, by_xla: bool) -> Contender:
    params, xs = peer.convert(work.params), work.xs
    forward, train = peer.forward, training_step(peer)
    if mesh is not None:
        params, xs = replicate(params, mesh), shard(xs, mesh)
    if mesh is not None and not by_xla:
        forward, train = _over(mesh, forward, P("data")), _over(mesh, _averaged(train), P())
    forward, train = jax.jit(forward), jax.jit(train)
    return Contender(
        name,
        mesh is not None,
        lambda: jax.block_until_ready(forward(params, xs)),
        lambda: jax.block_until_ready(train(params, xs)),
        np.asarray,
        lambda result: returned_gradients(peer.convert, work.params, jax.device_get(result)),
    )


def _over(mesh: Mesh, function: Callable[..., Any], result: P) -> Callable[..., Any]:
    """Each device runs `function` on its rows.

    By hand, so that no peer pays for sums over devices inside its loop that its user could have
    moved out, as XLA's partitioner makes it do: the gradients are added up once.
    """
    return jax.shard_map(
        function, mesh=mesh, in_specs=(P(), P("data")), out_specs=result, check_vma=False
    )


def _averaged(train: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, xs: jax.lax.pmean(train(params, xs), "data")


def _results(contender: Contender) -> tuple[np.ndarray, Any]:
    """Runs, and so compiles, both passes."""
    return contender.outputs(contender.forward()), contender.gradients(contender.train())


def check_same(contender: Contender, got: Any, expected: Any) -> None:
    """Raises where outputs or gradients differ by more than float32 in another order of sums.

    On a GPU the products of float32 are TF32 by default, in JAX and in cuDNN, so that only gross
    differences show; the same code is checked sharply on a CPU. So it is with bfloat16.

    Raises:
      AssertionError: they differ; the message says where and by how much.
    """
    exact = jax.default_backend() == "cpu" and contender.name != ROUNDED
    tolerance = 1e-3 if exact else 5e-2
    pairs = [("outputs", got[0], expected[0])]
    leaves = (
        jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: leaf is None)
        for tree in (expected[1], got[1])
    )
    for (path, want), (_, leaf) in zip(*leaves, strict=True):
        if leaf is not None:  # neither a leaf that the peer lacks nor one that nobody has
            pairs.append((f"the gradient of params{jax.tree_util.keystr(path)}", leaf, want))
    for what, a, b in pairs:
        if a.shape != b.shape:
            raise AssertionError(f"{what}: shape {a.shape}, but recurrax has {b.shape}")
        error = float(np.max(np.abs(a - b)) / (np.max(np.abs(b)) + 1e-30))
        if not error <= tolerance:
            raise AssertionError(
                f"{what} of {contender.label} differ from recurrax's by {error:.1e} of the largest"
            )
