"""Where a spectrum ends: stretches of few readings, and bands at the very edge of what a recording resolves."""

import numpy as np
import pytest
from scipy import special

from wattshed.agent.fleet.demand.spectrum import analyse, segment_length
from wattshed.agent.fleet.estimate.student import incomplete_beta


@pytest.mark.parametrize(("n", "length"), [(8, 8), (63, 63), (64, 64), (300, 66), (3600, 800)])
def test_a_short_load_is_one_stretch_and_a_long_one_about_eight(n, length):
    assert segment_length(n) == length


def test_a_band_that_begins_at_the_first_line_is_told():
    """Sixty readings at 6 Hz resolve 0.1 Hz exactly: that is not too short; one reading less is."""
    power = 1e3 + np.sin(np.arange(60))
    bands = {band.name: band for band in analyse(power, 10.0 / 60).bands}
    shorter = {band.name: band for band in analyse(power[:59], 10.0 / 60).bands}
    assert bands["1-2.5 Hz"].rms_w is not None
    assert bands["0.2-3 Hz"].rms_w is not None
    assert "too short" not in bands["0.1-20 Hz"].reason
    assert shorter["0.2-3 Hz"].rms_w is not None
    assert analyse(power[:30], 10.0 / 60).bands[2].rms_w is not None  # 0.2 Hz, to the last digit
    assert "too short" in analyse(power[:29], 10.0 / 60).bands[2].reason


@pytest.mark.parametrize(("x", "value"), [(-0.5, 0.0), (0.0, 0.0), (1.0, 1.0), (1.5, 1.0)])
def test_the_beta_function_at_and_beyond_its_ends(x, value):
    assert incomplete_beta(2.0, 3.0, x) == value
    assert incomplete_beta(2.0, 3.0, 0.4) == pytest.approx(special.betainc(2.0, 3.0, 0.4), rel=1e-12)
