"""What the kernel said about a link, as an error that tells the operator what to do."""

import errno

from d4d.domain.errors import LinkDown


def link_down(error: OSError, *, link: str, action: str, advice: dict[int, str]) -> LinkDown:
    """``action`` is what was tried; ``advice`` has the next step for each errno of this link."""
    code = error.errno or 0
    step = advice.get(code) or _ADVICE.get(code, "see the interface's state with `ip addr`")
    name = errno.errorcode.get(code, "error")
    return LinkDown(f"{link}: can't {action}: {error.strerror} ({name}); {step}")


_ADVICE = {
    errno.EPERM: "give the service CAP_NET_RAW, or run it as root",
    errno.EACCES: "give the service CAP_NET_RAW and CAP_NET_BIND_SERVICE, or run it as root",
    errno.ENETUNREACH: "there is no route: see `ip route`",
    errno.EHOSTUNREACH: "there is no route: see `ip route`",
    errno.EAGAIN: "the send queue is full: fewer messages at once, or a longer queue",
    errno.ENOBUFS: "the send queue is full: fewer messages at once, or a longer queue",
    errno.EMSGSIZE: "the message is longer than the interface's MTU",
    errno.EMFILE: "the process has too many open files: raise LimitNOFILE",
}
