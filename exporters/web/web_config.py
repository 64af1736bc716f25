"""The web configuration file of Prometheus' exporter-toolkit: TLS, client certificates, users, headers, rate limit.

One schema for all exporters of a site, so it is kept to the letter
(github.com/prometheus/exporter-toolkit, docs/web-configuration.md). What Python's ssl cannot do is refused with a
reason rather than ignored. Paths are relative to the file.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""Headers that may be set, with the values that are allowed (none: any)."""

CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,  # asks, then uses nothing of the answer
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Go's names of the TLS 1.2 suites that it still calls secure -> OpenSSL's; TLS 1.3 suites are not configurable."""

TLS13_SUITES = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
_BCRYPT = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class WebConfigError(ValueError):
    """The file cannot be used; carries ``path``, ``line`` and ``column`` (1-based, 0 unknown) and never a secret."""

    def __init__(self, message: str, path: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.path, self.line, self.column = message, path, line, column

    def __str__(self) -> str:
        """``file:line:column: message``."""
        where = ":".join([self.path, *(str(n) for n in (self.line, self.column) if n)])
        return f"{where}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says, ready to use.

    Attributes
    ----------
    tls : ssl.SSLContext or None
    allowed_sans : frozenset of str
        A client certificate must carry one of them; empty: any.
    users : mapping of name -> bcrypt hash
    headers : mapping
    rate_interval_s, burst : float, int
        Token bucket over all requests; interval 0: no limit.
    files : tuple of Path
        Every file that was read; a change of any asks for a reload.
    """

    tls: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] = frozenset()
    users: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_interval_s: float = 0.0
    burst: int = 0
    files: tuple[Path, ...] = ()


class _Section:
    """One YAML mapping: values by key, each key known, each fault with its place in the file."""

    def __init__(self, node: yaml.Node | None, path: Path, allowed: set[str] | None, title: str) -> None:
        self.path, self.title = path, title
        self.values: dict[str, yaml.Node] = {}
        self.node = node
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
            return
        if not isinstance(node, yaml.MappingNode):
            raise self.error(f"{title} must be a mapping of keys to values", node)
        for key, value in node.value:
            name = str(key.value)
            if allowed is not None and name not in allowed:
                raise self.error(f"unknown key {name!r} in {title}; known are {', '.join(sorted(allowed))}", key)
            if name in self.values:
                raise self.error(f"key {name!r} appears twice in {title}", key)
            self.values[name] = value

    def error(self, message: str, node: yaml.Node | None = None) -> WebConfigError:
        at = node or self.node
        mark = at.start_mark if at is not None else None
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        return WebConfigError(message, str(self.path), line, column)

    def text(self, key: str, default: str = "") -> str:
        node = self.values.get(key)
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return default
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(f"{key} must be a string", node)
        return str(node.value)

    def texts(self, key: str) -> list[str]:
        node = self.values.get(key)
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return []
        if not isinstance(node, yaml.SequenceNode) or not all(isinstance(n, yaml.ScalarNode) for n in node.value):
            raise self.error(f"{key} must be a list of strings", node)
        return [str(n.value) for n in node.value]

    def choice(self, key: str, known: Mapping[str, Any], default: str) -> Any:
        text = self.text(key) or default
        if text not in known:
            raise self.error(f"{key} must be one of {', '.join(known)}", self.values.get(key))
        return known[text]

    def check(self, key: str, good: Callable[[str], bool], must: str) -> None:
        if key in self.values and not good(self.text(key)):
            raise self.error(f"{key} must be {must}", self.values[key])


_BOOLEANS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
_TLS_KEYS = {
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_ca_file",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
}


def load(path: Path, *, may_be_empty: bool = True) -> WebConfig:
    """Read and check one web configuration file.

    Parameters
    ----------
    path : Path
    may_be_empty : bool
        An editor that truncates and writes leaves an empty file for a moment; a reload must not read "no users".

    Raises
    ------
    WebConfigError
        If it, or a file that it names, cannot be read or used. The message holds no secret of the file.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise WebConfigError(f"cannot be read: {getattr(error, 'strerror', 0) or 'not UTF-8'}", str(path)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise WebConfigError(f"not YAML: {error.problem}", str(path), line, column) from None
    except (yaml.YAMLError, RecursionError):
        raise WebConfigError("not YAML, or nested too deeply", str(path)) from None
    if root is None and not may_be_empty:
        raise WebConfigError("is empty; to configure nothing, write {}", str(path))
    top = _Section(
        root, path, {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"}, "the file"
    )
    users = _users(_Section(top.values.get("basic_auth_users"), path, None, "basic_auth_users"))
    http = _Section(top.values.get("http_server_config"), path, {"http2", "headers"}, "http_server_config")
    http.choice("http2", _BOOLEANS, "true")  # accepted: this server speaks HTTP/1.1, which every client does
    headers = _headers(_Section(http.values.get("headers"), path, set(HEADERS), "headers"))
    interval, burst = _rate(_Section(top.values.get("rate_limit"), path, {"interval", "burst"}, "rate_limit"))
    tls, sans, files = None, frozenset[str](), [path]
    section = _Section(top.values.get("tls_server_config"), path, _TLS_KEYS, "tls_server_config")
    if section.values:
        tls, more = _tls(section)
        sans = frozenset(section.texts("client_allowed_sans"))
        if sans and tls.verify_mode != ssl.CERT_REQUIRED:
            raise section.error("client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert")
        files += more
    return WebConfig(tls, sans, users, headers, interval, burst, tuple(files))


def _users(section: _Section) -> dict[str, str]:
    users = {name: section.text(name) for name in section.values}
    for name, hashed in users.items():
        if not _BCRYPT.fullmatch(hashed):
            raise section.error(
                f"the password of {name!r} is not a bcrypt hash; make one with: htpasswd -nBC 10 ''",
                section.values[name],
            )
    return users


def _headers(section: _Section) -> dict[str, str]:
    headers = {name: section.text(name) for name in section.values}
    for name, value in headers.items():
        if HEADERS[name] and value and value not in HEADERS[name]:
            raise section.error(f"{name} must be {' or '.join(HEADERS[name])}", section.values[name])
        if not value.isprintable() or not value.isascii():
            raise section.error(f"{name} holds a character that no header may have", section.values[name])
    return {name: value for name, value in headers.items() if value}


def _rate(section: _Section) -> tuple[float, int]:
    text, burst = section.text("interval", "0"), section.text("burst", "0")
    section.check("burst", str.isdecimal, "a whole number of requests")
    parts = _DURATION.findall(text)
    if text != "0" and (not parts or "".join(n + unit for n, unit in parts) != text):
        raise section.error("interval must be a duration such as 1s, 500ms or 1m30s", section.values["interval"])
    return sum(float(n) * _SECONDS[unit] for n, unit in parts), int(burst)


def _tls(section: _Section) -> tuple[ssl.SSLContext, list[Path]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = section.choice("min_version", VERSIONS, "TLS12")
    context.maximum_version = section.choice("max_version", VERSIONS, "TLS13")
    context.set_alpn_protocols(["http/1.1"])
    if section.choice("prefer_server_cipher_suites", _BOOLEANS, "true"):
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _suites(section, context)
    files = _certificate(section, context)
    if section.text("client_auth_type") == "RequireAnyClientCert":
        raise section.error(
            "client_auth_type RequireAnyClientCert trusts anybody's certificate; use RequireAndVerifyClientCert",
            section.values["client_auth_type"],
        )
    verify = section.choice("client_auth_type", CLIENT_AUTH, "NoClientCert")
    inline, file = section.text("client_ca"), section.text("client_ca_file")
    if inline and file:
        raise section.error("client_ca and client_ca_file exclude each other")
    if verify == ssl.CERT_NONE and (inline or file):
        raise section.error("client_ca needs a client_auth_type that verifies: RequireAndVerifyClientCert")
    if verify != ssl.CERT_NONE and not (inline or file):
        raise section.error("client_auth_type needs client_ca_file or client_ca")
    if inline or file:
        path = section.path.parent / file
        try:
            context.load_verify_locations(**({"cadata": inline} if inline else {"cafile": str(path)}))
        except (OSError, ValueError) as error:
            raise section.error(f"the client CA cannot be used: {_reason(error)}") from None
        files += [] if inline else [path]
    context.verify_mode = verify
    return context, files


def _suites(section: _Section, context: ssl.SSLContext) -> None:
    suites = [name for name in section.texts("cipher_suites") if name not in TLS13_SUITES]
    for name in suites:
        if name not in CIPHERS:
            raise section.error(
                f"cipher suite {name!r} is unknown or no longer secure; known are {', '.join(CIPHERS)}",
                section.values["cipher_suites"],
            )
    if suites:
        context.set_ciphers(":".join(CIPHERS[name] for name in suites))
    curves = section.texts("curve_preferences")
    for name in curves:
        if name not in CURVES:
            raise section.error(f"curve {name!r} is unknown; known are {', '.join(CURVES)}")
    if len(curves) == 1:  # Python's ssl can pin one curve; with several OpenSSL's own order of the same ones holds
        context.set_ecdh_curve(CURVES[curves[0]])


def _certificate(section: _Section, context: ssl.SSLContext) -> list[Path]:
    pems, files = [], []
    for inline_key, file_key in (("cert", "cert_file"), ("key", "key_file")):
        inline, file = section.text(inline_key), section.text(file_key)
        if bool(inline) == bool(file):
            raise section.error(f"give either {file_key} or {inline_key}")
        path = section.path.parent / file
        try:
            pems.append(inline or path.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError) as error:
            raise section.error(f"{file_key} {path} cannot be read: {_reason(error)}") from None
        files += [] if inline else [path]
    # ssl reads certificates by path only: a file in memory serves inline ones too, and no key touches a disk
    descriptor = os.memfd_create("wattshed-certificate")
    try:
        os.write(descriptor, "\n".join([*pems, ""]).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except (OSError, ValueError) as error:
        raise section.error(f"certificate and key cannot be used: {_reason(error)}") from None
    finally:
        os.close(descriptor)
    return files


def _no_password() -> str:
    # without this OpenSSL would ask on the terminal and hang a daemon
    raise ValueError("the key is encrypted; give an unencrypted one")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "not PEM").replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or (error if isinstance(error, ValueError) else "not text"))
