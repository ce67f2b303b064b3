"""`jax.lax.scan` over the very cell that recurrax runs: what a user without recurrax writes."""

from __future__ import annotations

import functools

import jax

from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Peer


def peer(work: Work) -> Peer:
    cell = work.cell

    def forward(params, xs):
        def one(x):
            step = functools.partial(cell.step, params)
            return jax.lax.scan(step, cell.initial_state(params), x)[1]

        return jax.vmap(one)(xs)

    return Peer(lambda params: params, forward)
