"""Where an Ollama server is: what people write, made one address.

The rules are the server's own (`OLLAMA_HOST`), so that what works for `ollama` works here:
the port is 11434, but 80 or 443 where a scheme is written without one. An address that a
server listens on at all interfaces, 0.0.0.0, is asked at 127.0.0.1.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from storage.errors import BadSetting

DEFAULT = "http://127.0.0.1:11434"
PORT = 11434

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def address_of(host: str) -> str:
    """Return the base URL of a host as people write it.

    Raises:
        BadSetting: it is no address.

    >>> address_of("box"), address_of("0.0.0.0:1234"), address_of("https://box/")
    ('http://box:11434', 'http://127.0.0.1:1234', 'https://box:443')
    >>> address_of("")
    'http://127.0.0.1:11434'
    """
    text = host.strip().strip("\"'")
    if not text:
        return DEFAULT
    with_scheme = "://" in text
    if not with_scheme and text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"  # an IPv6 address without a port
    wrong = BadSetting(f"{host!r} is no address of a server", next_step=f"--host {DEFAULT}")
    try:
        parts = urlsplit(text if with_scheme else f"http://{text}")
        name, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("http", "https") or not name or parts.query or parts.username:
        raise wrong
    try:
        name.encode("idna")
    except UnicodeError as error:
        raise wrong from error
    if not text.isprintable() or not text.isascii() or " " in text:
        raise wrong
    if port is None:
        port = {"http": 80, "https": 443}[parts.scheme] if with_scheme else PORT
    name = _EVERYWHERE.get(name, name)
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"


def is_local(address: str) -> bool:
    """Say whether an address is this machine's own.

    >>> is_local("http://127.0.0.1:11434"), is_local("http://box:11434")
    (True, False)
    """
    name = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
