"""Who may send requests to the admin app, and how long they may be."""

import hmac

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from d4d.domain import errors
from d4d.domain.addressing import parse_address
from d4d.entrypoints.admin_api.responses import refusal
from d4d.entrypoints.admin_api.web_page import is_page

CSRF_HEADER = "x-d4d-operator"
"""A header that a page of another site can't send without asking us first."""

_LONGEST = 1024  # characters of a path, or of a value in a query: names and pools have fewer
_MOST_VALUES = 200  # in a query: the page asks for fifty leases at once
_OURS = ("same-origin", "none")  # none: typed, or a bookmark. same-site may be another port's page


def require_csrf_header(request: Request) -> None:
    """Raises BadRequest if another site's page may have sent a request that changes something."""
    if CSRF_HEADER not in request.headers:
        raise errors.BadRequest(f"a request that changes something needs the header {CSRF_HEADER}")


class AccessControl:
    """Keeps out requests without the token, and those from pages of other sites in a browser here.

    A request's length is checked before anything else.
    """

    def __init__(self, app: ASGIApp, *, token: SecretStr | None, public: bool) -> None:
        self._app = app
        self._token = token.get_secret_value().encode() if token else None
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed (ASGI)."""
        refused = self._reason(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _reason(self, scope: Scope) -> Response | None:
        request = Request(scope)
        return _too_long(request) or _foreign(request) or self._unknown(request)

    def _unknown(self, request: Request) -> Response | None:
        if self._token is not None:
            if is_page(request.url.path):  # it has to load before it can ask for the token
                return None
            given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(given, self._token):
                return refusal("this needs D4D_ADMIN_TOKEN: Authorization: Bearer TOKEN", 401)
        elif not self._public and not _is_local(request.headers.get("host", "")):
            return refusal("on loopback only the host's own names are served", 403)
        return None


def _too_long(request: Request) -> Response | None:
    if len(request.scope["path"]) > _LONGEST:
        return refusal(f"a path has {_LONGEST} characters at most", 414)
    if request.scope["query_string"].count(b"&") >= _MOST_VALUES:
        return refusal(f"a query has {_MOST_VALUES} values at most", 400)
    for name, value in request.query_params.multi_items():
        if len(name) > _LONGEST or len(value) > _LONGEST:
            return refusal(f"{name[:20]}: a value has {_LONGEST} characters at most", 400)
    return None


def _foreign(request: Request) -> Response | None:
    """Refuse what a browser sends for another site's page. Other clients send no such headers.

    A link from elsewhere may lead to the page itself, which holds none of the driver's data.
    """
    headers = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return refusal(f"a page of {origin[:200]} may not ask here", 403)
    if site is None or site in _OURS:
        return None
    if is_page(request.scope["path"]) and headers.get("sec-fetch-mode") == "navigate":
        return None
    return refusal(f"a page of another site may not ask here (Sec-Fetch-Site: {site[:20]})", 403)


def _is_local(host: str) -> bool:
    """Whether ``host`` names this host itself: any other name might only resolve to it."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name in ("", "localhost", "d4d"):
        return True
    try:
        return parse_address(name.strip("[]"), what="host").is_loopback
    except errors.BadRequest:
        return False
