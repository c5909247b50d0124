"""The event loops on which D4D runs: uvloop's with the extra ``fast``, asyncio's without it."""

import sys
from pathlib import Path

from lab.engineless_host import PluginHost

LOOPS = ("uvloop", "asyncio")

_HIDDEN = "import sys; sys.modules |= dict.fromkeys(['uvicorn', 'uvloop', 'httptools'])"
_MAIN = "from d4d.entrypoints.cli.main import main; main()"


def run_on(loop: str, host: PluginHost) -> None:
    """Let the driver of ``host``, which is not started yet, run on that loop."""
    if loop == "asyncio":
        driver = host.driver
        command: list[str | Path] = [sys.executable, "-c", f"{_HIDDEN}; {_MAIN}", "server"]
        driver.daemon = driver.namespace.daemon("d4d", command, env=driver.environment)
