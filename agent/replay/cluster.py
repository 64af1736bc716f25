"""Replay on many processes or machines: the one file that knows Dask (extra ``scale``).

A chain's pieces (host, day) follow each other as tasks that pass the accounts on; chains run side by side. Everything
travels as bytes and the task is shipped whole, so that a scheduler needs nothing of ours, and a worker nothing but the
wheel and the traces under the same paths.
"""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.replay.books import needs_survey, pieces_of, settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.replay.books import Part, Settings
    from wattshed.agent.traces.sources import Chain


ANSWER_S = 10.0
"""How long a scheduler may take to answer, s."""


def _task() -> Callable[[bytes, bytes, bytes], bytes]:
    """Make the function that workers run; one without a name to import is sent by value."""

    def work(order: bytes, told: bytes, books: bytes) -> bytes:
        import pickle  # noqa: PLC0415 - all of this runs on another machine

        from wattshed.agent.errors import InputError  # noqa: PLC0415
        from wattshed.agent.replay.books import book, finish, look  # noqa: PLC0415

        part = pickle.loads(books) if books else None  # noqa: S301 - our own bytes, on the user's own cluster
        if isinstance(part, InputError):
            return books
        piece, booked = pickle.loads(order)  # noqa: S301
        settings = pickle.loads(told)  # noqa: S301
        try:
            if not booked:
                part = look(piece, settings)
            elif piece is not None:
                part = book(piece, settings, part)
            elif part is not None:
                part = finish(part)
            return pickle.dumps(part)
        except InputError as error:
            return pickle.dumps(error)

    return work


def book_on_cluster(
    chains: list[Chain], settings: Settings, *, workers: int = 0, address: str = ""
) -> tuple[list[Part], Settings]:
    """Book all chains on a cluster.

    Parameters
    ----------
    chains : list of Chain
    settings : Settings
    workers : int
        Start so many local processes; 0: use ``address``.
    address : str
        A running scheduler (``tcp://HOST:8786``).

    Returns
    -------
    list of Part, Settings
        Finished accounts, a chain each, in the order of ``chains``; and what they were booked by.

    Raises
    ------
    InputError
        If Dask is not installed, the scheduler does not answer, or a trace cannot be used.
    """
    with ExitStack() as opened:
        client = _client(workers, address, opened)
        work = _task()
        if needs_survey(chains, settings):
            told = client.scatter(pickle.dumps(settings), hash=False)
            pieces = [piece for chain in chains for piece in pieces_of(chain)]
            looks = [client.submit(work, pickle.dumps((piece, False)), told, b"", pure=False) for piece in pieces]
            settings = settled(settings, _answers(client.gather(looks)))
        told = client.scatter(pickle.dumps(settings), hash=False)  # many jobs are sent once, not with every piece
        futures = []
        for chain in chains:
            books: Any = b""
            for piece in pieces_of(chain):
                books = client.submit(work, pickle.dumps((piece, True)), told, books, pure=False)
            futures.append(client.submit(work, pickle.dumps((None, True)), told, books, pure=False))
        return _answers(client.gather(futures)), settings


def _client(workers: int, address: str, opened: ExitStack) -> Any:
    """Connect to a scheduler, of local processes if there shall be some; both are closed with what is ``opened``."""
    try:
        import dask  # noqa: PLC0415 - an extra
        from distributed import Client, LocalCluster  # noqa: PLC0415
    except ImportError as error:
        raise InputError("--workers and --scheduler need the extra scale: pip install 'wattshed[scale]'") from error
    cluster: Any = address
    try:
        if workers:
            # Dask watches the GPUs of its workers; a sick one must not end a replay, which uses none.
            with dask.config.set({"distributed.diagnostics.nvml": False}):
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=50,
                )
            opened.callback(cluster.close)
        client = Client(cluster, timeout=ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"no Dask scheduler answers at {address or 'this machine'} ({text})") from error
    opened.callback(client.close)
    return client


def _answers(gathered: list[bytes]) -> list[Any]:
    """Unpack what workers answered; a refusal is raised here."""
    answers = [pickle.loads(answer) for answer in gathered]  # noqa: S301
    for answer in answers:
        if isinstance(answer, InputError):
            raise answer
    return answers
