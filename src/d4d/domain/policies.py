"""What an operator chooses between: each is the value of a setting or an option."""

from enum import Enum


class Mode(Enum):
    """How DHCP messages travel."""

    AUTO = "auto"
    L2 = "l2"
    RELAY = "relay"


class IdentityPolicy(Enum):
    """What the client id is made of."""

    AUTO = "auto"
    """The name where the engine gives it, else the MAC."""
    MAC = "mac"
    NAME = "name"
    """The name, and an error where the engine gives none."""
    CLUSTER_NAME = "cluster-name"
    """The name, which hosts share: whichever has the container, it is the same client."""


class LossAction(Enum):
    """D4D_ON_LOST."""

    KEEP = "keep"
    """Nothing: the container goes on using the address, and D4D goes on asking for it."""
    RECONNECT = "reconnect"
    """Disconnect it from the network and connect it again: it gets another address."""
    RESTART = "restart"
    STOP = "stop"


class ReclaimPolicy(Enum):
    """D4D_RECLAIM: what becomes of the leases of a host that is not heard of any more."""

    MANUAL = "manual"
    """They stay its own until an operator drains it."""
    AUTO = "auto"
    """Another host drains it."""
