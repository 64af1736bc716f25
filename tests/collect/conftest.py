"""A site of three simulated agents."""

import pytest

from tests.collect.site import Site


@pytest.fixture
def site(tmp_path):
    one = Site(tmp_path)
    yield one
    one.close()
