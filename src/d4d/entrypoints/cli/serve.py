"""``d4d server``, without what reads command lines: that takes a third of a start."""

import gc
import sys
from collections.abc import Mapping
from typing import Any


def serve(given: Mapping[str, Any]) -> None:
    """Serve until stopped; ``given`` are settings of the command line. Exits 1 where it can't."""
    gc.disable()  # what is imported stays: to look for garbage in it takes a tenth of the start
    from d4d.domain.errors import D4DError  # noqa: PLC0415 - after the above
    from d4d.entrypoints.daemon.main import serve_until_stopped  # noqa: PLC0415 - as above

    try:
        serve_until_stopped(given)
    except D4DError as error:
        print(f"d4d: {error}", file=sys.stderr)
        sys.exit(1)
