"""The ASGI app that answers Docker's calls: ``hypercorn d4d.entrypoints.ipam:app``."""

from d4d.entrypoints.docker_plugin.handlers import create_app

__all__ = ["app"]

app = create_app()
