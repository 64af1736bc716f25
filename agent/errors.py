"""The one error that the user can correct."""

from __future__ import annotations


class InputError(Exception):
    """Something the user handed over cannot be used; the command line prints it as one line and exits with 2.

    Parameters
    ----------
    message : str
        What is wrong and what to do, without a full stop at the end.
    path : str
        The file, or empty.
    line, column : int
        1-based; 0 where it does not apply.
    """

    def __init__(self, message: str, path: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.path, self.line, self.column = message, path, line, column

    def __str__(self) -> str:
        """``file:line:column: message``, leaving out what is unknown."""
        where = ":".join([self.path, *(str(n) for n in (self.line, self.column) if n)]) if self.path else ""
        text = f"{where}: {self.message}" if where else self.message
        # What the file holds may be quoted in it: control characters are shown, not obeyed, so that it stays one line.
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
