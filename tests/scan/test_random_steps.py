"""Random step functions against `jax.lax.scan`, in float64, in every derivative.

`pytest -m slow` runs 300 of them; a few run always.
"""

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.scan.agreement import assert_agrees
from tests.scan.grammar import arguments, programs, step_of
from tests.support import x64

_OPTIONS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=4, derandomize=True, **_OPTIONS)
@given(programs(), st.booleans())
def test_random_steps(program, reverse):
    with x64():
        assert_agrees(step_of(program), arguments(), reverse=reverse)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_three_hundred_random_steps(part):
    @seed(part)
    @settings(max_examples=15, **_OPTIONS)
    @given(programs(), st.booleans())
    def agree(program, reverse):
        with x64():
            assert_agrees(step_of(program), arguments(), reverse=reverse)

    agree()
