"""A server that ends with its test."""

import pytest

from tests.exporters import snapshots
from wattshed.exporters.web.http import Server


@pytest.fixture
def serve():
    """Start servers; gives (server, port)."""
    running = []

    def start(publish=snapshots.rich, **options):
        server = Server(publish, options.pop("listen", ["127.0.0.1:0"]), **options)
        server.start()
        running.append(server)
        return server, int(server.addresses[0].rpartition(":")[2])

    yield start
    for server in running:
        server.stop()
