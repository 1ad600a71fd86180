"""Keeps strangers out of Dagster's web server, which itself answers anybody who can send it a request.

A web page that is open in the owner's browser can send requests to this machine: by a form, an image, a script, a
WebSocket, or under a name of its own that it lets point to 127.0.0.1 (DNS rebinding). Browsers say where such a
request comes from and which name it is addressed to, in headers that a page cannot change
(https://developer.mozilla.org/en-US/docs/Web/Security/Attacks/CSRF). What is refused never reaches Dagster.

This is no login: a program on this machine can send any header. docs/pipeline.md says what it does not protect from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flops_fit.errors import FlopsFitError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HERE = frozenset({"127.0.0.1", "localhost", "::1"})  # names of this machine, which no other page can have
_READING = ("GET", "HEAD")
FORBIDDEN = 403
_LONGEST = 100  # characters of a refused request that are repeated to it


@dataclass(frozen=True, kw_only=True)
class Guard:
    """An ASGI application that hands on to `app` what `refusal` has nothing against, and answers 403 to the rest.

    Attributes:
        allowed: hosts besides this machine's own that the pages may be asked for, such as those of a proxy in front:
            `pages.example.com`, or `pages.example.com:8443` where the port is not the usual one.
    """

    app: App
    allowed: frozenset[str] = frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket; what is neither (start and end of the server) is handed on."""
        reason = refusal(scope, self.allowed) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self.app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: answered as 403
        else:
            await _answer(send, f"flops-fit ui refuses this request: {reason}\n")


def refusal(scope: Scope, allowed: Iterable[str] = ()) -> str | None:
    """Why a request must not reach Dagster, with the remedy; None where it may.

    Args:
        scope: of an ASGI request or WebSocket.
        allowed: as of `Guard`.
    """
    allowed = {host.lower() for host in allowed}
    hosts, origins = _headers(scope, b"host"), _headers(scope, b"origin")
    if len(hosts) != 1 or not (hosts[0] in allowed or _name(hosts[0]) in HERE):
        return (
            f"it is addressed to {_shown(hosts)}, not to this machine; behind a proxy, start the pages with "
            "--allow-host and the name that the browser shows"
        )
    if any(_host_of(origin) not in {hosts[0], *allowed} for origin in origins):
        return (
            f"it was sent by a page of {_shown(origins)}, not by these pages; behind a proxy, start them with "
            "--allow-host and the name that the browser shows"
        )
    if scope["type"] == "websocket":
        return None
    if scope["method"] in _READING:
        asks = "query" in parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if asks and "graphql" in scope["path"].lower():
            return "GraphQL is not answered by GET; send it by POST as application/json"
        return None
    kinds = [kind.partition(";")[0].strip() for kind in _headers(scope, b"content-type")]
    if kinds != ["application/json"]:
        return f"{scope['method']} with content type {_shown(kinds)} is not accepted; send application/json"
    return None


def checked_hosts(hosts: Iterable[str]) -> frozenset[str]:
    """Hosts for `Guard.allowed`; raises `FlopsFitError` for what is no `name` or `name:port`."""
    for host in hosts:
        if _name(host) is None:
            raise FlopsFitError(
                f"--allow-host {host!r} is not a host; give what the browser shows between // and the next /, "
                "such as pages.example.com or pages.example.com:8443"
            )
    return frozenset(host.lower() for host in hosts)


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key.lower() == name]


def _name(host: str) -> str | None:
    """The name in `name:port`; None where it is neither."""
    try:
        return urlsplit(f"//{host}").hostname if _is_host(host) else None
    except ValueError:
        return None


def _is_host(host: str) -> bool:
    return bool(host) and not set(host) & set("/?#@\\ ,")


def _host_of(origin: str) -> str | None:
    """`name:port` of an origin; None for `null` and for what is no web page's."""
    scheme, separator, host = origin.partition("://")
    return host if separator and scheme in ("http", "https") and _is_host(host) else None


def _shown(values: list[str]) -> str:
    return ascii(", ".join(values))[: _LONGEST + 2] if values else "nothing"


def _unframed(send: Send) -> Send:
    """`send` with a header that forbids other pages to show these in a frame, under which clicks could be stolen."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"x-frame-options", b"SAMEORIGIN")]
        await send(message)

    return wrapped


async def _answer(send: Send, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": FORBIDDEN, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
