"""The public API as a stranger meets it: what it costs to import, what its names say."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import recurrax as rx
from recurrax import initializers

PUBLIC = {name: value for name, value in vars(rx).items() if not name.startswith("_")}
FUNCTIONS = {
    name: value
    for name, value in PUBLIC.items()
    if callable(value) and not inspect.isclass(value) and not inspect.ismodule(value)
}


def test_import_brings_nothing_heavy_beyond_jax():
    program = (
        "import sys, jax, jax.numpy; before = set(sys.modules); import recurrax; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(output) & {"optax", "flax", "chex", "orbax", "scipy", "matplotlib"}


def test_names_that_stay():
    stays = [
        "Cell",
        "SequenceModel",
        "scan",
        "unroll",
        "elman",
        "lstm",
        "gru",
        "serial",
        "bidirectional",
        "beam_search",
    ]
    assert set(stays) <= set(PUBLIC)


def test_every_public_name_says_what_it_is():
    for name, value in PUBLIC.items():
        if not inspect.ismodule(value):
            doc = inspect.getdoc(value) or ""
            assert len(doc) > 10, f"rx.{name} has no docstring"
            assert not doc.startswith(f"{name}("), f"rx.{name} has only the made-up docstring"
            # What is public comes from this package, not by accident from another.
            module = getattr(value, "__module__", "recurrax")
            assert module.startswith("recurrax"), f"rx.{name} comes from {module}"


def test_every_public_function_has_types():
    for name, function in FUNCTIONS.items():
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, f"rx.{name}: {parameter}"
        assert signature.return_annotation is not inspect.Signature.empty, f"rx.{name}"


@pytest.mark.parametrize("room", ["cells", "compose", "decode", "scan"])
def test_lists_of_names_are_true(room):
    """What a room lists exists; of cells and what is made of them, `rx` has it all."""
    package = importlib.import_module(f"recurrax.{room}")
    for name in package.__all__:
        assert hasattr(package, name)
        if room != "decode":
            assert getattr(rx, name) is getattr(package, name)
    assert rx.initializers is initializers


def test_version_is_that_of_the_package():
    assert rx.__version__ == importlib.metadata.version("recurrax")
