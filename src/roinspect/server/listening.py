"""Bind the listening socket first: a port that is already in use is reported in one line."""

from __future__ import annotations

import socket

from roinspect.errors import UserError


def bind(host: str, port: int) -> socket.socket:
    """Take an address; whoever connects before `listen` is refused.

    Args:
        host: an IPv4 or IPv6 address, or a name of the former.
        port: 0 takes a free one.

    Raises:
        UserError: the address is taken, or none of this machine's.
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
    """Let others connect; they wait until they are accepted.

    Raises:
        UserError: another program, which had taken the same address, was faster.
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
        f"cannot be listened on ({reason})", where=address, remedy="choose another --host or --port"
    )
