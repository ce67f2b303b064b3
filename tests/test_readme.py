"""The README's Python runs as it stands, in order, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import jax.numpy as jnp

README = Path(__file__).parents[1] / "README.md"


def _step(state, token):
    """What the README leaves to the reader: some step of a search."""
    return state + token, jnp.sin(jnp.arange(8.0) * (1 + state))


def test_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 7
    namespace: dict = {}
    for block in blocks[:5]:
        exec(block, namespace)  # one program, told in pieces
    assert namespace["ys"].shape == (8, 50, 10)
    assert jnp.all(namespace["ys"][3] == 0), "a sequence of length 0 gives zeros"
    assert namespace["norms"].skipped == 0
    assert namespace["d_params"].d.shape == namespace["params"].d.shape
    namespace |= {"step": _step, "state": jnp.zeros(())}
    for block in blocks[5:]:
        exec(block, namespace)
    assert namespace["result"].tokens.shape == namespace["best"].tokens.shape == (5, 50)
    assert jnp.all(namespace["best"].scores >= namespace["result"].scores)


def test_the_test_command_is_where_ci_looks_for_it():
    after = README.read_text().split("<!-- test command -->")[1]
    assert after.lstrip().startswith("```bash\n")
    assert "-m pytest" in after.split("```")[1]
