"""Who may ask the admin app, and how it refuses."""

import hmac

from pydantic import BaseModel, SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from d4d.domain import errors
from d4d.domain.pools import parse_address
from d4d.entrypoints.admin_api import schemas as forms
from d4d.entrypoints.admin_api.web_page import is_page

MARK = "x-d4d-operator"
"""A header that a page of another site can't send without asking us first."""


class Form(Response):
    """A form as JSON."""

    media_type = "application/json"

    def __init__(self, form: BaseModel, status_code: int = 200) -> None:
        super().__init__(form.model_dump_json(), status_code, {"Cache-Control": "no-store"})


def refusal(text: str, status: int) -> Form:
    """The answer that says why not."""
    return Form(forms.ErrorAnswer(error=text), status)


def require_mark(request: Request) -> None:
    """Raises BadRequest where a page elsewhere may have sent a request that changes something."""
    if MARK not in request.headers:
        raise errors.BadRequest(f"a request that changes something needs the header {MARK}")


class Guard:
    """Keeps out who has no token, and pages of other sites that a browser here has open."""

    def __init__(self, app: ASGIApp, *, token: SecretStr | None, public: bool) -> None:
        self._app = app
        self._token = token.get_secret_value().encode() if token else None
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in (ASGI)."""
        refused = self._reason(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _reason(self, scope: Scope) -> Response | None:
        request = Request(scope)
        if self._token is not None:
            if is_page(request.url.path):  # it has to load before it can ask for the token
                return None
            given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(given, self._token):
                return refusal("this needs D4D_ADMIN_TOKEN: Authorization: Bearer TOKEN", 401)
        elif not self._public and not _is_local(request.headers.get("host", "")):
            return refusal("on loopback only the host's own names are served", 403)
        return None


def _is_local(host: str) -> bool:
    """Whether a request was meant for this host: a name that resolves to us is no proof."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name in ("", "localhost", "d4d"):
        return True
    try:
        return parse_address(name.strip("[]"), what="host").is_loopback
    except errors.BadRequest:
        return False
