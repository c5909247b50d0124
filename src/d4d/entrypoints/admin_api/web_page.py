"""The operator's page: a few static files, which use the admin API as any other client does.

They hold no secrets and are served to anyone who can connect: the page itself asks for the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = "/page/"
_INDEX = "index.html"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    # Container names are foreign text: whatever they smuggle in can neither load nor run anything.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # revalidated at each visit, by the ETag
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def is_page(path: str) -> bool:
    """Whether the path is one of the page's files, which hold none of the driver's data."""
    return path == "/" or path.startswith(_FOLDER)


def page_routes() -> list[Route]:
    """The page at ``/``, and what it is made of."""
    return [Route("/", _index), Route(f"{_FOLDER}{{name}}", _part)]


async def _index(request: Request) -> Response:
    return _answer(request, _INDEX)


async def _part(request: Request) -> Response:
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise HTTPException(404, f"the page has no {name}")
    headers = {**_HEADERS, "ETag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


@cache
def _files() -> Mapping[str, _File]:
    """All of the page by name, read at its first visit."""
    found = {}
    for each in files("d4d.entrypoints").joinpath("web").iterdir():
        media_type = _TYPES.get(each.name.rpartition(".")[2])
        if media_type is not None:
            content = each.read_bytes()
            etag = f'"{sha256(content).hexdigest()[:20]}"'
            found[each.name] = _File(content=content, media_type=media_type, etag=etag)
    return found
