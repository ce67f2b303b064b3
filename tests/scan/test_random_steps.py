"""Random step functions against `jax.lax.scan`, in float64, in every derivative.

`pytest -m slow` runs 300 of them; a few run always.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scan.agreement import assert_agrees
from tests.scan.grammar import arguments, programs, step_of
from tests.support import x64

_OPTIONS = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": True,
}


@settings(max_examples=4, **_OPTIONS)
@given(programs(), st.booleans())
def test_random_steps(program, reverse):
    with x64():
        assert_agrees(step_of(program), arguments(), reverse=reverse)
