"""Bind the listening socket before loading models, so that a port in use is reported at once."""

from __future__ import annotations

import socket

from roinspect.errors import UserError


def bind(host: str, port: int) -> socket.socket:
    """Bind an address; connections are refused until `listen`.

    Args:
        host: an IPv4 or IPv6 address, or a name of an IPv4 one.
        port: 0 takes a free one.

    Raises:
        UserError: the address is in use, or not one of this machine.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        bound.close()
        raise _cannot(http_address(host, port), error) from None
    return bound


def listen(bound: socket.socket) -> None:
    """Let clients connect.

    Raises:
        UserError: another program bound to the same address was faster.
    """
    try:
        bound.listen(2048)
    except OSError as error:
        raise _cannot(http_address(*bound.getsockname()[:2]), error) from None


def http_address(host: str, port: int) -> str:
    """`http://HOST:PORT`."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _cannot(address: str, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"cannot listen on this address ({reason})", where=address, remedy="choose another --host or --port"
    )
