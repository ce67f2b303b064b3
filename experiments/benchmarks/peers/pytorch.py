"""PyTorch: `nn.LSTM`, `nn.GRU`, `nn.RNN`; cuDNN where JAX's device is a GPU."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.cells import Work
from experiments.benchmarks.peers import Contender, Missing, returned_gradients

_LAYERS = {"elman": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def contender(work: Work) -> Contender:
    if work.name == "gru-before":
        raise Missing("its GRU resets after the product only")
    if work.name not in _LAYERS:
        raise Missing("has no such cell")
    on_gpu = jax.default_backend() == "gpu"
    if on_gpu and not torch.cuda.is_available():
        raise Missing("is installed without CUDA, and JAX runs on the GPU")
    device = torch.device("cuda" if on_gpu else "cpu")
    if not on_gpu and hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    layer = _LAYERS[work.name](work.shape.D, work.shape.H, batch_first=True, device=device)
    convert = {"elman": _one_bias, "lstm": _one_bias, "gru": _gru}[work.name]
    names = [name.removesuffix("_l0") for name, _ in layer.named_parameters()]
    weights = list(layer.parameters())
    with torch.no_grad():
        for name, weight in zip(names, weights, strict=True):
            weight.copy_(torch.from_numpy(np.array(convert(work.params)[name])))
    xs = torch.from_numpy(np.array(work.xs)).to(device)

    def wait():
        if on_gpu:
            torch.cuda.synchronize()

    def forward():
        with torch.inference_mode():
            ys = layer(xs)[0]
        wait()
        return ys

    def train():
        gradients = torch.autograd.grad(layer(xs)[0].square().mean(), weights)
        wait()
        return gradients

    def gradients(result):
        arrays = {n: jnp.asarray(g.cpu().numpy()) for n, g in zip(names, result, strict=True)}
        return returned_gradients(convert, work.params, arrays)

    return Contender("torch", False, forward, train, lambda ys: ys.cpu().numpy(), gradients)


def _one_bias(params):
    """It keeps two biases, whose sum is ours."""
    return {
        "weight_ih": params.w_x.T,
        "weight_hh": params.w_h.T,
        "bias_ih": params.b,
        "bias_hh": jnp.zeros_like(params.b),
    }


def _gru(params):
    b_h = jnp.concatenate([jnp.zeros(2 * params.b_hn.size), params.b_hn])
    return _one_bias(params) | {"bias_hh": b_h}
