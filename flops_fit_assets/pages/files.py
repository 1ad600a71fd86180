"""Serves files of a home's studies beside Dagster's pages, whose links to files on disk no browser would follow.

    /flops_fit/<study>/report.html          also runs.csv, *.json, plots/*.png
    /flops_fit/<study>/runs/<experiment>/   its curve, its numbers and its log on one page; also curve.svg and the files

A report runs in a sandbox of its own: nothing in it can ask Dagster for anything. Other sites can neither read nor
embed what is served. Only files of these kinds are, by their names; nothing is listed, and nothing is written.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from flops_fit_assets.pages.training_page import training_curve, training_page

if TYPE_CHECKING:
    from flops_fit_assets.pages.guard import App, Receive, Scope, Send

ROOT = "/flops_fit/"
VERSION = "sha256"  # of a file, in the query of its address: a page of long ago shows no other figure than its own
WIDTH = "width"  # in pixels, of a PNG that is to be no wider
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+=,-]*"
_FILE = re.compile(
    rf"(?P<study>{_NAME})/(?P<file>report\.html|runs\.csv|{_NAME}\.json|plots/{_NAME}\.(png|svg)"
    rf"|runs/{_NAME}/(result\.json|log\.jsonl|trainer\.log))"
)
_TRAINING = re.compile(rf"(?P<study>{_NAME})/runs/(?P<training>{_NAME})/?(?P<curve>(?<=/)curve\.svg)?")
_PNG_HEAD = 24  # bytes, with width and height at the end
_PIXELS = re.compile(r"[0-9]{1,5}")
_KINDS = {".html": "text/html", ".png": "image/png", ".svg": "image/svg+xml"}
_SANDBOX = "sandbox allow-scripts allow-downloads allow-popups; connect-src 'none'; form-action 'none'"
_ALONE = {"content-security-policy": _SANDBOX}
_STILL = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"  # a page without a script
_HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, kw_only=True)
class StudyFiles:
    """An ASGI application that answers GET below `ROOT` with files of `home`, and hands on the rest to `app`."""

    app: App
    home: Path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or whatever else the server has."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not path.startswith(ROOT):
            await self.app(scope, receive, send)
            return
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        version, width = (asked.get(name, [""])[0] for name in (VERSION, WIDTH))
        await self._answer(path.removeprefix(ROOT), version, width)(scope, receive, send)

    def _answer(self, path: str, version: str, width: str) -> Response:
        if found := _TRAINING.fullmatch(path):
            return self._training(found["study"], found["training"], found["curve"] is not None, width)
        found = _FILE.fullmatch(path)
        file = self._inside(found["study"], found["file"]) if found else None
        if file is None or not file.is_file():
            return _missing(f"no study of {self.home} has a file {path!r} to show")
        content = file.read_bytes()
        if version and not hashlib.sha256(content).hexdigest().startswith(version):
            return _missing(f"{file} was written again since; look at the newest page that shows it")
        if file.suffix == ".png" and _PIXELS.fullmatch(width) and len(content) >= _PNG_HEAD and any(content[16:20]):
            return Response(_narrowed(content, int(width)), media_type=_KINDS[".svg"], headers=_HEADERS)
        kind = _KINDS.get(file.suffix, "text/plain; charset=utf-8")
        guarded = _ALONE if file.suffix in (".html", ".svg") else {}
        return Response(content, media_type=kind, headers=_HEADERS | guarded)

    def _training(self, study: str, training: str, curve: bool, width: str) -> Response:
        folder = self._inside(study, f"runs/{training}")
        plan = self._inside(study, "sweep_plan.json")
        if curve:
            drawn = training_curve(training, folder, plan)
            if drawn is None:
                return _missing(f"{training} has no curve yet: its log has fewer than two steps")
            return Response(_sized(drawn, width), media_type=_KINDS[".svg"], headers=_HEADERS | _ALONE)
        shown = training_page(training, folder, plan)
        if shown is None:
            return _missing(f"{self.home / study} has no training {training!r}: it is neither planned nor begun")
        return HTMLResponse(shown, headers=_HEADERS | {"content-security-policy": _STILL})

    def _inside(self, *parts: str) -> Path | None:
        """What is there, if it is in the home once links are followed."""
        try:
            found = self.home.joinpath(*parts).resolve()
            return found if found.exists() and self.home.resolve() in found.parents else None
        except (OSError, RuntimeError):  # a name that is too long, links in a circle
            return None


def _sized(svg: str, width: str) -> str:
    """A graphic that says what space it is for, as wide as asked for."""
    own = re.search(r'width="(\d+)" height="(\d+)"', svg)
    if own is None or not _PIXELS.fullmatch(width):
        return svg
    height = round(int(width) * int(own[2]) / int(own[1]))
    return svg.replace(own[0], f'width="{int(width)}" height="{height}"', 1)


def _narrowed(png: bytes, width: int) -> str:
    """An image of that width which holds the whole PNG: in a table cell that Markdown makes, an image is as wide as it
    says it is."""
    own_width, own_height = struct.unpack(">II", png[16:24])  # https://www.w3.org/TR/png-3/#11IHDR
    height = round(width * own_height / own_width)
    data = base64.b64encode(png).decode()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<image href="data:image/png;base64,{data}" width="{width}" height="{height}"/></svg>'
    )


def _missing(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", status_code=404, headers=_HEADERS)
