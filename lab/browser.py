"""Chromium on a machine of the lab, driven by Playwright: it reaches what that machine reaches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from lab.network import Namespace

_CHROMIUM = "/usr/bin/chromium"
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@asynccontextmanager
async def browser(namespace: Namespace) -> AsyncIterator[Browser]:
    """A browser without a window and with nothing in its memory."""
    start = namespace.directory / "chromium"
    start.write_text(f'#!/bin/sh\nexec nsenter --net={namespace.path} -- {_CHROMIUM} "$@"\n')
    start.chmod(0o755)
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=start, args=[*_FLAGS])
        try:
            yield running
        finally:
            await running.close()
