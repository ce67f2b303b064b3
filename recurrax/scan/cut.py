"""Which values to store so that others can be computed from them: a minimum cut.

Three choices of the engine are this one question. Before the loop: which values of the work done
for all steps at once go into the loop. After it: which values of the loop the rest is computed
from. For the backward pass: which values of the forward pass are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from recurrax.scan.graph import Equation, Value

_INFINITE = 1 << 60
_SOURCE, _SINK = 0, 1


def minimum_cut(
    equations: Sequence[Equation],
    targets: Iterable[Value],
    *,
    free: Callable[[Value], bool],
    repeatable: Callable[[Equation], bool],
    cost: Callable[[Value], int],
) -> list[Value]:
    """The cheapest set of values from which `targets` follow by repeatable equations.

    Args:
      equations: those that lead to the targets.
      targets: what is to be had.
      free: values that are to be had at no cost.
      repeatable: whether an equation may be run (again) to get its outputs.
      cost: what storing a value costs; not negative.

    Returns:
      The values to store; among equally cheap sets the one nearest to
      the inputs.
    """
    producer = {v: equation for equation in equations for v in equation.outputs}
    network = _Network()
    order: dict[Value, tuple[int, int]] = {}

    def visit(value: Value) -> None:
        pending = [value]
        while pending:
            v = pending.pop()
            if v in order or free(v):
                continue
            order[v] = network.node(), network.node()
            network.edge(*order[v], cost(v))
            made_by = producer.get(v)
            if made_by is not None and repeatable(made_by):
                pending.extend(made_by.values)

    targets = list(dict.fromkeys(targets))
    for target in targets:
        visit(target)
    for v, (entry, exit_) in order.items():
        made_by = producer.get(v)
        if made_by is None or not repeatable(made_by):
            network.edge(_SOURCE, entry, _INFINITE)
        else:
            for u in made_by.values:
                if u in order:
                    network.edge(order[u][1], entry, _INFINITE)
        if v in targets:
            network.edge(exit_, _SINK, _INFINITE)
    reached = network.maximise()
    cut = {v for v, (entry, exit_) in order.items() if entry in reached and exit_ not in reached}
    return [v for v in order if v in cut]


class _Network:
    """A flow network; node 0 is the source and node 1 the sink."""

    def __init__(self) -> None:
        self.capacity: list[dict[int, int]] = [{}, {}]

    def node(self) -> int:
        self.capacity.append({})
        return len(self.capacity) - 1

    def edge(self, start: int, end: int, capacity: int) -> None:
        self.capacity[start][end] = self.capacity[start].get(end, 0) + capacity
        self.capacity[end].setdefault(start, 0)

    def maximise(self) -> set[int]:
        """Augments along shortest paths (Edmonds and Karp, 1972); the nodes still reached."""
        while True:
            parents = self._search()
            if _SINK not in parents:
                return set(parents)
            path, end = [], _SINK
            while end != _SOURCE:
                path.append((parents[end], end))
                end = parents[end]
            flow = min(self.capacity[u][v] for u, v in path)
            for u, v in path:
                self.capacity[u][v] -= flow
                self.capacity[v][u] += flow

    def _search(self) -> dict[int, int]:
        parents = {_SOURCE: _SOURCE}
        queue = deque([_SOURCE])
        while queue:
            u = queue.popleft()
            for v, capacity in self.capacity[u].items():
                if capacity > 0 and v not in parents:
                    parents[v] = u
                    queue.append(v)
        return parents
