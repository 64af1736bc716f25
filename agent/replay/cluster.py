"""Replay on many processes or machines: a chain's pieces follow each other, chains run side by side.

The pieces (host, day) of a chain are tasks that pass the accounts on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.replay.books import book, finish, look, needs_survey, pieces_of, settled
from wattshed.agent.wire.cluster import connected

if TYPE_CHECKING:
    from wattshed.agent.replay.books import Part, Settings
    from wattshed.agent.traces.sources import Chain


def book_on_cluster(
    chains: list[Chain], settings: Settings, *, workers: int = 0, address: str = ""
) -> tuple[list[Part], Settings]:
    """Book all chains on a cluster.

    Parameters
    ----------
    chains : list of Chain
    settings : Settings
    workers, address
        See `agent.wire.cluster.connected`.

    Returns
    -------
    list of Part, Settings
        Finished accounts, a chain each, in the order of ``chains``; and what they were booked by.

    Raises
    ------
    InputError
        If Dask is not installed, the scheduler does not answer, or a trace cannot be used.
    """
    with connected(workers, address) as cluster:
        if needs_survey(chains, settings):
            told = cluster.send(settings)
            looks = [cluster.submit(look, piece, told) for chain in chains for piece in pieces_of(chain)]
            settings = settled(settings, cluster.answers(looks))
        told = cluster.send(settings)  # many jobs are sent once, not with every piece
        finished = []
        for chain in chains:
            books: Any = None
            for piece in pieces_of(chain):
                books = cluster.submit(book, piece, told, books)
            finished.append(cluster.submit(finish, books))
        return list(cluster.answers(finished)), settings
