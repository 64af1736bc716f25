"""How a client shows who it is and whom it trusts, and the flags that say so, the same for every command that asks."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse
    import socket
    import ssl
    from collections.abc import Mapping

MOST_BYTES = 4096
"""A password is not longer; nor is more read of what is named by mistake."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a client shows who it is, and whom it trusts; nothing of it is ever shown.

    Parameters
    ----------
    login, password : str
        Sent as basic authentication; none without a login.
    ca_file : str
        PEM certificates of the authorities to trust, these alone; empty: those of the system.
    cert_file, key_file : str
        PEM certificate and key of the client's own; the key may be in the first file too.
    pin : str
        SHA-256 of the only server's certificate to trust, hexadecimal: whoever signed it, and whatever its name.
    """

    login: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    pin: str = ""

    @property
    def authorization(self) -> str:
        """The value of that header, or empty."""
        return basic(self.login, self.password) if self.login else ""

    def context(self) -> ssl.SSLContext:
        """Make what verifies a server and shows the client's own certificate.

        Raises
        ------
        InputError
            If a file cannot be read or is not PEM.
        """
        import ssl  # noqa: PLC0415 - every command adds the flags, few speak TLS

        file = self.ca_file
        try:
            context = ssl.create_default_context(cafile=file or None)
            if self.cert_file:
                file = self.cert_file
                context.load_cert_chain(file, self.key_file or None, password="")
            if self.pin:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `pinned` looks at it instead
        except ssl.SSLError:
            raise InputError("has no PEM certificate (or key) that can be used", file) from None
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", file) from None
        return context

    def pinned(self, sock: socket.socket) -> bool:
        """Return whether the server at the other end may be trusted, as far as its certificate is pinned."""
        if not self.pin:
            return True
        import hashlib  # noqa: PLC0415 - few pin one
        import ssl  # noqa: PLC0415

        certificate = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
        return certificate is not None and hashlib.sha256(certificate).hexdigest() == self.pin


def basic(user: str, password: str) -> str:
    """Write the header of basic authentication."""
    pair = f"{user}:{password}".encode(errors="surrogateescape")
    return f"Basic {b64encode(pair).decode()}"


def add_flags(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Add ``--url`` and the flags that `credentials_of` reads; none clashes with a filter such as ``--user``.

    Parameters
    ----------
    parser : ArgumentParser
    otherwise : str
        Who is asked without ``--url``, for the help.
    """
    parser.add_argument(
        "--url",
        metavar="U",
        help=f"whom to ask: http(s)://HOST:PORT or unix:/PATH ($WATTSHED_URL; without it {otherwise})",
    )
    add_client_flags(parser, "a server that wants TLS or a user")


def add_client_flags(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the flags that `credentials_of` reads, in a group of this title."""
    flags = parser.add_argument_group(title)
    flags.add_argument("--login", metavar="NAME", help="who asks, for basic authentication ($WATTSHED_LOGIN)")
    flags.add_argument(
        "--password-file",
        metavar="F",
        help="the password of --login, the first line of a file that nobody else can read ($WATTSHED_PASSWORD_FILE)",
    )
    flags.add_argument(
        "--ca-file", metavar="F", help="PEM certificates of the only authorities to trust ($WATTSHED_CA_FILE)"
    )
    flags.add_argument("--cert-file", metavar="F", help="PEM certificate to show, with its key ($WATTSHED_CERT_FILE)")
    flags.add_argument("--key-file", metavar="F", help="the key, where it is in a file of its own ($WATTSHED_KEY_FILE)")


def url_of(arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> str:
    """Return whom to ask: ``--url``, else what the environment says, else nobody (empty)."""
    return arguments.url or environ.get("WATTSHED_URL", "")


def credentials_of(arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Credentials:
    """Read what `add_flags` added; a flag that was not given may stand in the environment.

    Raises
    ------
    InputError
        If there is a login without a password or the other way round, or the file cannot be used.
    """

    def given(flag: str) -> str:
        return getattr(arguments, flag, None) or environ.get(f"WATTSHED_{flag.upper()}", "")

    login, file = given("login"), given("password_file")
    if bool(login) != bool(file):
        raise InputError("--login and --password-file go together: give both")
    if ":" in login:
        raise InputError("--login: the name of a user has no colon")
    if given("key_file") and not given("cert_file"):
        raise InputError("--key-file goes with --cert-file: give both")
    password = password_in(file) if file else ""
    return Credentials(login, password, given("ca_file"), given("cert_file"), given("key_file"))


def password_in(path: str) -> str:
    """Read the first line of a file that nobody else can read: as ssh and psql do, what others read is refused.

    A file of root's may be readable by a group, as for a service that does not run as root. What is no file, such as
    the pipe of a shell's ``<(pass show wattshed)``, has no other readers.

    Raises
    ------
    InputError
        If it cannot be read, is empty, or others can read it. Nothing of it is shown.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - its mode is that of what was opened, not of the name
            status = os.fstat(file.fileno())
            mine = 0o037 if status.st_uid == 0 else 0o077
            if stat.S_ISREG(status.st_mode) and status.st_mode & mine:
                raise InputError("can be read by others; it holds a password: chmod 600", path)
            content = file.read(MOST_BYTES)
    except OSError as error:
        raise InputError(f"the password cannot be read ({error.strerror})", path) from None
    password = content.partition(b"\n")[0].removesuffix(b"\r").decode(errors="surrogateescape")
    if not password:
        raise InputError("its first line should be a password", path, 1)
    return password
