"""What passes an interface, as tcpdump prints it."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.network import Namespace
from lab.processes import Daemon


@contextmanager
def capture(namespace: Namespace, *filter_words: str, interface: str = "eth0") -> Iterator[Daemon]:
    """tcpdump with details, while the block runs; ``logged()`` has one line for each field."""
    flags = ("-i", interface, "-n", "-e", "-vv", "--immediate-mode", "-l")
    tcpdump = namespace.daemon("tcpdump", ["tcpdump", *flags, *filter_words])
    tcpdump.start(ready=lambda log: "listening on" in log)
    try:
        yield tcpdump
    finally:
        tcpdump.kill()
