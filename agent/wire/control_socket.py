"""The socket at which administrators have a running agent let go of the driver: packets of JSON, as jobs ask.

``{"op": "release", "for_s": 600, "gpus": ["0"]}``, ``{"op": "resume"}``, ``{"op": "status"}``. Each is answered at once
with what is wanted and what is done; whether it was done yet is asked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.wire.sockets import SHARED, own_folders

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "control.sock"
VARIABLE = "WATTSHED_CONTROL_SOCKET"


def control_socket(environ: Mapping[str, str], uid: int, *, shared: Path = SHARED) -> str:
    """Return the path of the socket to ask at: of one's own agent if there is one, else of the host's.

    Parameters
    ----------
    environ : mapping
        ``WATTSHED_CONTROL_SOCKET`` names one.
    uid : int
    shared : Path
        Where root's agent listens.
    """
    if given := environ.get(VARIABLE, "auto").removeprefix("auto"):
        return given
    places = [folder / NAME for folder in own_folders(environ, uid)]
    return str(next((path for path in places if path.exists()), shared / NAME))
