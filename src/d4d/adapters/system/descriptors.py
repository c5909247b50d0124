"""How many files and sockets the process may have open, and who may have the last of them."""

import resource

_MOST = 65_536  # more are never needed, and a kernel's table for them costs memory
_RESERVE = 256  # Docker's connections, stores, links


def raise_limit() -> None:
    """Allow this process as many as it may allow itself: services start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_of_reserve(descriptor: int) -> bool:
    """Whether it is among the last ones, which are kept for Docker's side.

    The kernel gives the lowest number that is free, so that all below it are taken.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return False
    return descriptor >= soft - min(_RESERVE, soft // 2)
