"""Answers of the admin API as HTTP: JSON that nothing may keep."""

import json
from collections.abc import Sequence

from starlette.responses import Response

from d4d.entrypoints.admin_api.schemas import ErrorResponse, Schema

_JSON = "application/json"
_HEADERS = {"Cache-Control": "no-store"}


def json_response(body: Schema, status: int = 200) -> Response:
    """``body`` as JSON."""
    return Response(body.model_dump_json(), status, _HEADERS, _JSON)


def list_response(name: str, items: Sequence[str], **rest: str | None) -> Response:
    """A list, or a page of one, whose ``items`` are JSON already.

    ``rest`` is what else there is to say, as ``next`` of a page.
    """
    parts = [f'"{name}":[{",".join(items)}]']
    parts += [f'"{key}":{json.dumps(value)}' for key, value in rest.items()]
    return Response(f"{{{','.join(parts)}}}", 200, _HEADERS, _JSON)


def refusal(reason: str, status: int) -> Response:
    """The answer that says why not."""
    return json_response(ErrorResponse(error=reason), status)
