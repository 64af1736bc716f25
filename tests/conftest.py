"""Which tests one worker takes together."""

import pytest

TOGETHER = ("tests/promql/",)  # one life of two hosts, and one Prometheus, for all tests of the folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker takes whole files, or one of these folders: what their tests share is made once."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return Together(config, log)
