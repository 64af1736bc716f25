"""One life of the hosts for all tests of this folder."""

import pytest

from tests.promql import server
from tests.promql.expressions import RULES
from tests.promql.two_hosts import fleet_host, simulated_host, two_hosts, unmetered_host, write


@pytest.fixture(scope="package")
def hosts(tmp_path_factory):
    return two_hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="package")
def beside(tmp_path_factory):
    """What else is scraped: a simulated node, a host without a driver, and the fleet's own page."""
    return simulated_host(tmp_path_factory.mktemp("beside")), unmetered_host(), fleet_host()


@pytest.fixture(scope="package")
def prometheus(tmp_path_factory, hosts, beside):
    """A Prometheus that holds all of it, with the rules evaluated."""
    with server.prometheus(tmp_path_factory.mktemp("prometheus")) as one:
        ruler = server.Ruler(one, RULES)
        write(one, ruler, *hosts, *beside)
        assert ruler.refused == {}
        yield one
