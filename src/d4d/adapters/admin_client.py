"""The command line's side of the admin API."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from d4d.domain.errors import D4DError
from d4d.lazy_import import without_packages

# what httpx takes for a command line of its own, and for HTTP/2, is a fifth of a start
with without_packages("pygments", "h2"):
    import httpcore  # noqa: F401 - httpx imports it at its first call
    import httpx

_PATIENCE = 30.0  # seconds for an answer; a stream of events has no end
_MARK = {"X-D4D-Operator": "d4d"}


_PLUGINS = Path("/run/docker/plugins")


def sockets_of_plugins(plugins: Path = _PLUGINS) -> list[Path]:
    """Where Docker's managed plugins that are D4D serve the operator: packaging/plugin."""
    return sorted(plugins.glob("*/admin.sock"))


class NotRunning(D4DError):
    """No driver answers where the operator is served."""


class NoSuchThing(D4DError):
    """The driver knows nothing of what was asked for."""


class AdminClient:
    """One driver, by its unix socket or its URL."""

    def __init__(self, *, path: Path | None, url: str, token: str | None = None) -> None:
        """``url`` is used where there is no ``path``."""
        self._where = f"unix:{path}" if path else url
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(
                uds=str(path) if path else None,
                verify=False,  # there is no TLS here, and reading CA certificates takes 0.4 s
            ),
            base_url="http://d4d" if path else url,
            timeout=_PATIENCE,
            trust_env=False,  # a proxy for the world is none for this
            headers=_MARK | ({"Authorization": f"Bearer {token}"} if token else {}),
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def get(self, path: str, query: Mapping[str, str | tuple[str, ...]]) -> Any:
        """The answer's JSON. Raises NotRunning, NoSuchThing, D4DError."""
        with self._translated():
            return self._read(self._client.get(path, params=dict(query)))

    def listing(
        self,
        path: str,
        query: Mapping[str, str | tuple[str, ...]],
        *,
        name: str,
        most: int | None = None,
    ) -> Any:
        """The answer's JSON with all pages of its list ``name``, or ``most`` items of it.

        Raises as ``get`` does.
        """
        answer: Any = {name: []}
        following: str | None = None
        is_first = True
        while is_first or (following is not None and most != len(answer[name])):
            more = {} if following is None else {"after": following}
            if most is not None:
                more["limit"] = str(most - len(answer[name]))
            page = self.get(path, {**query, **more})
            following = page.get("next")
            answer = {**page, name: answer[name] + page[name]}
            is_first = False
        return answer

    def health(self, path: str) -> Any:
        """The answer to /healthz or /readyz, also where it says no. Raises NotRunning, D4DError."""
        with self._translated():
            response = self._client.get(path)
            return response.json() if "checks" in response.text else self._read(response)

    def post(self, path: str, query: Mapping[str, str]) -> Any:
        """The answer's JSON. Raises NotRunning, NoSuchThing, D4DError."""
        with self._translated():
            return self._read(self._client.post(path, params=dict(query)))

    def delete(self, path: str, query: Mapping[str, str]) -> Any:
        """The answer's JSON. Raises NotRunning, NoSuchThing, D4DError."""
        with self._translated():
            return self._read(self._client.delete(path, params=dict(query)))

    def events(self, kinds: tuple[str, ...]) -> Iterator[Any]:
        """Events from now on, until the driver ends. Raises as ``get`` does."""
        query = {"kind": kinds}
        with (
            self._translated(),
            self._client.stream("GET", "/api/events", params=query, timeout=None) as response,
        ):
            if response.is_error:
                response.read()
                self._read(response)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _read(self, response: httpx.Response) -> Any:
        try:
            content = response.json()
        except ValueError as error:
            raise D4DError(f"what answers at {self._where} is no D4D") from error
        if not response.is_error:
            return content
        text = str(content.get("error") or content)
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise NoSuchThing(text)
        raise D4DError(text)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise NotRunning(
                f"no driver answers at {self._where} ({error}): does d4d server run, with the "
                "same D4D_ADMIN_BIND, and may you use its socket?"
            ) from error
