"""Learning rates rise to the peak and fall to a hundredth of it."""

import numpy as np
import pytest

from experiments.common.schedules import make_schedule


@pytest.mark.parametrize(
    ("kind", "middle", "end"),
    [("constant", 1, 1), ("linear", 0.505, 0.01), ("cosine", 0.505, 0.01)],
)
def test_schedule_rises_to_the_peak_and_falls_to_a_hundredth(kind, middle, end):
    rate = make_schedule(kind, 1e-2, 20, 1020)
    for step, share in ((0, 0), (5, 0.25), (20, 1), (520, middle), (1020, end)):
        np.testing.assert_allclose(rate(step), 1e-2 * share, rtol=1e-5)
    # In a short run the warm-up is a tenth of it, and none where none is asked for.
    np.testing.assert_allclose(make_schedule(kind, 1e-2, 20, 50)(5), 1e-2, rtol=1e-5)
    np.testing.assert_allclose(make_schedule(kind, 1e-2, 0, 50)(0), 1e-2, rtol=1e-5)
