"""Gauges in the unit of their name, and how long a driver that fails as a whole is put up with."""

import pytest

from wattshed.agent.meters.errors import RestartNeeded


def test_framebuffer_is_in_mib_and_its_parts_sum_to_the_whole(rig):
    node = rig(gpus=1)
    node.run(15)
    gauges = {name: column for one in node.windows for name, column in one.gauges.items()}
    total = float(gauges["fb_total_mib"][0])
    used, free = float(gauges["fb_used_mib"][0]), float(gauges["fb_free_mib"][0])
    assert used + free == pytest.approx(total, abs=1)
    assert 8 * 1024 <= total <= 288 * 1024, "between the smallest and the largest board of the last ten years"
    assert 0 <= used < total


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_driver_that_is_cut_off_is_put_up_with_for_ten_seconds(rig, gpus):
    """It may come back by itself; if not, a new process finds out what is left of it."""
    node = rig('[[fault]]\nkind = "cut-off"\nat_s = 10\n', gpus=gpus)
    with pytest.raises(RestartNeeded):
        node.run(60)
    assert 19 <= len(node.windows) <= 30
