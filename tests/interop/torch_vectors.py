"""What PyTorch computes, and the file of it for machines without PyTorch.

    python -m tests.interop.torch_vectors

writes tests/interop/torch_vectors.npz: random weights and inputs, and torch's outputs, final states
and gradients in float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FILE = Path(__file__).with_name("torch_vectors.npz")
T, D, H, P = 5, 2, 3, 2
LENGTHS = np.array([5, 3, 1, 4])
B = len(LENGTHS)


class Case(NamedTuple):
    """A torch layer: the name of its class and its arguments."""

    layer: str
    options: dict[str, Any]

    @property
    def directions(self) -> int:
        return 2 if self.options.get("bidirectional") else 1

    @property
    def layers(self) -> int:
        return self.options.get("num_layers", 1)


_DEEP = {"num_layers": 3, "bidirectional": True}
CASES = {
    "rnn_tanh": Case("RNN", _DEEP),
    "rnn_relu": Case("RNN", _DEEP | {"nonlinearity": "relu"}),
    "lstm": Case("LSTM", _DEEP),
    "lstm_projected": Case("LSTM", _DEEP | {"proj_size": P}),
    "gru": Case("GRU", _DEEP),
    "lstm_without_biases": Case("LSTM", {"bias": False}),
    "gru_one_way": Case("GRU", {"num_layers": 2}),
}


def module(case: Case) -> Any:
    """The torch layer, in float64."""
    import torch  # pyright: ignore[reportMissingImports]

    return getattr(torch.nn, case.layer)(D, H, dtype=torch.float64, **case.options)


def compute(case: Case, seed: int) -> dict[str, np.ndarray]:
    """Weights "w/...", inputs "in/...", outputs "out/..." with their cotangents "ct/...", and the
    gradients "grad/...". What is drawn is multiples of 1/64, which compress well.
    """
    import torch  # pyright: ignore[reportMissingImports]

    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.integers(-64, 65, shape) / 64

    layer = module(case)
    shapes = {name: tuple(leaf.shape) for name, leaf in layer.state_dict().items()}
    weights = {name: draw(*shape) for name, shape in shapes.items()}
    layer.load_state_dict({name: torch.tensor(leaf) for name, leaf in weights.items()})
    count, width = case.layers * case.directions, case.options.get("proj_size", H)
    inputs = {"xs": draw(B, T, D), "h": draw(count, B, width)}
    if case.layer == "LSTM":
        inputs["c"] = draw(count, B, H)
    cotangents = {name: draw(*value.shape) for name, value in inputs.items()}
    cotangents["xs"] = draw(B, T, case.directions * width)

    tensors = {name: torch.tensor(leaf, requires_grad=True) for name, leaf in inputs.items()}
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        tensors["xs"], torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    state = (tensors["h"], tensors["c"]) if "c" in tensors else tensors["h"]
    ys, state = layer(packed, state)
    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, batch_first=True, total_length=T)
    finals = state if isinstance(state, tuple) else (state,)
    outputs = dict(zip(inputs, (ys, *finals), strict=True))
    number = sum((torch.tensor(cotangents[name]) * leaf).sum() for name, leaf in outputs.items())
    sources = dict(layer.named_parameters()) | {
        f"in/{name}": leaf for name, leaf in tensors.items()
    }
    gradients = torch.autograd.grad(number, list(sources.values()))
    return (
        {f"w/{name}": leaf for name, leaf in weights.items()}
        | {f"in/{name}": leaf for name, leaf in inputs.items()}
        | {f"ct/{name}": leaf for name, leaf in cotangents.items()}
        | {f"out/{name}": leaf.detach().numpy() for name, leaf in outputs.items()}
        | {f"grad/{n}": g.numpy() for n, g in zip(sources, gradients, strict=True)}
    )


def stored(name: str) -> dict[str, np.ndarray]:
    """What `compute` gave for a case when the file was written."""
    with np.load(FILE) as file:
        shapes = json.loads(str(file["shapes"]))
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes.values()])
        leaves = np.split(file["values"], ends[:-1])
    return {
        key.removeprefix(f"{name}:"): leaf.reshape(shape)
        for (key, shape), leaf in zip(shapes.items(), leaves, strict=True)
        if key.startswith(f"{name}:")
    }


def main() -> None:
    """One long array: a file of hundreds of small ones would be mostly their headers."""
    arrays = {
        f"{name}:{key}": leaf
        for seed, (name, case) in enumerate(CASES.items())
        for key, leaf in compute(case, seed).items()
    }
    shapes = json.dumps({key: leaf.shape for key, leaf in arrays.items()})
    values = np.concatenate([leaf.ravel() for leaf in arrays.values()])
    np.savez_compressed(FILE, shapes=shapes, values=values)


if __name__ == "__main__":
    main()
