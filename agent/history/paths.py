"""Questions as they are asked from outside, a path and its parameters, whatever carries them."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from wattshed.agent.history.asking import after_of, filter_of, limit_of, step_of
from wattshed.agent.history.query import TooMuchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.history.answers import Answers

JOBS, REPORT, PARTS = "/api/v1/jobs", "/api/v1/report", "/api/v1/parts"


class RefusedError(Exception):
    """There is no answer; the message is one line that says why.

    Attributes
    ----------
    status : int
        Of HTTP: 400 for a wrong question, 403 for one that is not for who asks, 404, 413.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def ask(  # noqa: PLR0917 - who asks what, when and where
    answers: Answers,
    path: str,
    params: Mapping[str, str],
    uid: int | None = None,
    now_s: float = 0.0,
    zone: tzinfo | None = UTC,
) -> dict[str, Any]:
    """Answer one question.

    Parameters
    ----------
    answers : Answers
    path : str
        ``/api/v1/jobs``, ``/api/v1/jobs/KEY``, ``/api/v1/report`` or ``/api/v1/parts``.
    params : mapping of str to str
    uid : int or None
        Whose jobs may be seen; None: everybody's.
    now_s : float, s
        Ages count back from it.
    zone : tzinfo or None
        See `asking.filter_of`.

    Raises
    ------
    RefusedError
    DatabaseError
        The history cannot be read.
    """
    try:
        if path == PARTS:
            return _parts(answers, params, uid)
        if path == REPORT:
            asked = filter_of(params, uid, now_s, zone, ("by", "step_s"))
            return answers.report(params.get("by", ""), asked, step_of(params))
        if path == JOBS:
            asked = filter_of(params, uid, now_s, zone, ("running", "limit", "cursor"))
            return answers.jobs(asked, limit_of(params), params.get("cursor", ""))
        if path.startswith(f"{JOBS}/"):
            asked = filter_of(params, uid, now_s, zone, ())
            if (found := answers.job(unquote(path.removeprefix(f"{JOBS}/")), asked)) is not None:
                return found
            raise RefusedError(404, "no such job")
    except TooMuchError as error:
        raise RefusedError(413, str(error)) from error
    except ValueError as error:
        raise RefusedError(400, str(error)) from error
    raise RefusedError(404, "there is no such question")


def _parts(answers: Answers, params: Mapping[str, str], uid: int | None) -> dict[str, Any]:
    for name in params:
        if name not in {"after", "limit", "store"}:
            raise ValueError(f"{name}: is not a parameter; known are after, limit, store")
    if uid is not None:
        raise RefusedError(403, "parts of all jobs are for who may see all of them")
    return answers.parts(after_of(params), limit_of(params), params.get("store", ""))
