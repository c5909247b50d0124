"""Every kind of finding, in one place. A code stays what it is: scripts and runbooks name it."""

from d4d.doctor.findings import FindingType, Severity

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

# The doctor itself

CHECK_FAILED = FindingType(
    "check-failed",
    _WARNING,
    "run it as root; if it fails so again, report it: the doctor has a bug",
)

# Settings

SETTING_UNKNOWN = FindingType("setting-unknown", _ERROR, "correct the name, or take the line away")
SETTING_INVALID = FindingType("setting-invalid", _ERROR, "correct the value: D4D does not start so")
SETTING_IGNORED = FindingType(
    "setting-ignored", _WARNING, "correct the line, or take it away: nothing reads it"
)
SETTINGS_UNREADABLE = FindingType(
    "settings-unreadable", _ERROR, "make it a text file of mode 0644, in directories of mode 0755"
)

# Parents

NO_PARENT = FindingType(
    "no-parent", _ERROR, "bring an Ethernet interface up, and plug it in: see `ip link`"
)
PARENT_MISSING = FindingType(
    "parent-missing",
    _ERROR,
    "have the host's network configuration make {parent}, or name another by D4D_PARENT or "
    "--ipam-opt parent=; a Docker network with the wrong one must be made anew",
)
PARENT_DOWN = FindingType(
    "parent-down",
    _ERROR,
    "`ip link set {parent} up`, and have the host's network configuration do it at boot",
)
PARENT_NO_CARRIER = FindingType(
    "parent-no-carrier", _ERROR, "plug the cable of {parent} in, or turn its switch port on"
)
PARENT_NOT_ETHERNET = FindingType(
    "parent-not-ethernet",
    _ERROR,
    "choose an Ethernet interface: DHCP for containers needs MAC addresses",
)
PARENT_WIFI = FindingType(
    "parent-wifi",
    _ERROR,
    "use a wired parent: an access point takes frames of one MAC address only, so containers on "
    "macvlan or a bridge are not heard",
)
PARENT_ENSLAVED = FindingType(
    "parent-enslaved",
    _ERROR,
    "name {master} as the parent in its place: what comes in by {parent} goes to {master}",
)
PARENT_DIFFERS = FindingType(
    "parent-differs",
    _WARNING,
    "make the network anew, with the same interface in -o parent= and --ipam-opt parent=",
)
PARENT_MTU = FindingType(
    "parent-mtu",
    _WARNING,
    "raise it: DHCP messages have up to 576 bytes (RFC 2131), `ip link set {parent} mtu 1500`",
)

# The driver

DRIVER_NOT_RUNNING = FindingType(
    "driver-not-running", _ERROR, "`systemctl start d4d.service`, or `d4d server`; see its log"
)
DRIVER_NOT_READY = FindingType("driver-not-ready", _ERROR, "see its log, and the other findings")
DRIVER_OUTDATED = FindingType(
    "driver-outdated",
    _WARNING,
    "`systemctl restart d4d.service`: it releases nothing, and containers run on",
)
SECOND_DRIVER = FindingType(
    "second-driver",
    _WARNING,
    "stop it, if it is not meant to run: a second driver needs its own D4D_STATE_DIR and "
    "D4D_PLUGIN_SOCKET, and parents of its own",
)
CAPABILITY_MISSING = FindingType(
    "capability-missing",
    _ERROR,
    "give the service {capability}, as the unit of `d4d unit` does, or run it as root",
)
PLUGIN_SOCKET_MISSING = FindingType(
    "plugin-socket-missing",
    _ERROR,
    "restart D4D: something has removed it; see that D4D_PLUGIN_SOCKET is the driver's",
)
PLUGIN_SOCKET_STALE = FindingType(
    "plugin-socket-stale",
    _ERROR,
    "start D4D, which replaces it, or remove the file: Docker waits 15 s at it for each call",
)
PLUGIN_SOCKET_DENIED = FindingType(
    "plugin-socket-denied", _WARNING, "run the doctor as root: the socket is root's"
)
PLUGIN_SOCKET_SILENT = FindingType(
    "plugin-socket-silent", _ERROR, "restart the driver: it takes connections, and answers nothing"
)
PLUGIN_SOCKET_FOREIGN = FindingType(
    "plugin-socket-foreign",
    _ERROR,
    "stop the other program, or set D4D_PLUGIN_SOCKET to another path: its file name is the "
    "driver's name",
)
PLUGIN_SOCKET_ELSEWHERE = FindingType(
    "plugin-socket-elsewhere",
    _WARNING,
    "set D4D_PLUGIN_SOCKET to a path in /run/docker/plugins, where Docker looks for plugins",
)
PLUGIN_SPEC_LEFT = FindingType(
    "plugin-spec-left",
    _WARNING,
    "remove it: where D4D's socket is absent for a moment, Docker goes by this file",
)
ADMIN_SILENT = FindingType(
    "admin-silent",
    _WARNING,
    "see D4D's log (`admin_api_unavailable`), and that D4D_ADMIN_BIND is the driver's: commands, "
    "health and metrics need it",
)
PORT_67_TAKEN = FindingType(
    "port-67-taken",
    _WARNING,
    "nothing if leases come: D4D relays from another port then, and needs CAP_NET_RAW for the "
    "answers; else stop that program, or set D4D_LISTEN_ADDR to an address that it does not have",
)

# Docker

DOCKER_UNREACHABLE = FindingType(
    "docker-unreachable",
    _WARNING,
    "start Docker, or set D4D_DOCKER_SOCKET; `permission denied`: add the user to group docker. "
    "Without it D4D frees nothing of containers that vanished",
)
DOCKER_TOO_OLD = FindingType("docker-too-old", _ERROR, "upgrade to Docker Engine 20.10 or later")
DOCKER_NO_NAMES = FindingType(
    "docker-no-names", _ERROR, "set D4D_IDENTITY=auto, or upgrade to Docker Engine 29"
)
DOCKER_OTHER_DRIVER = FindingType(
    "docker-other-driver",
    _WARNING,
    "if the network should be D4D's, its driver has another name: D4D's is the file name of "
    "D4D_PLUGIN_SOCKET",
)
GATEWAY_MISMATCH = FindingType(
    "gateway-mismatch",
    _WARNING,
    "if containers reach nothing outside, make the network anew with --gateway={router}, or "
    "correct the server",
)
BRIDGE_WAY_OUT = FindingType(
    "bridge-way-out",
    _WARNING,
    "if containers reach nothing outside, make the network anew with the host's own address on "
    "{bridge} as --gateway and with --aux-address DefaultGatewayIPv4={router}: never with "
    "--gateway={router}, which takes the host off its network. See docs/operate/networks.md",
)
BRIDGE_TOOK_ROUTER = FindingType(
    "bridge-took-router",
    _ERROR,
    "`docker network rm` the network that did it, `ip addr del {address} dev {bridge}`, and have "
    "the host's network configuration set {bridge} up anew, or, with the host's own address as "
    "HOST: `ip addr add HOST/{prefix} dev {bridge}`, `ip route replace default via {router}`. Then "
    "make the network with --gateway=HOST and --aux-address DefaultGatewayIPv4={router}: see "
    "Bridges in docs/operate/networks.md",
)
BRIDGE_IS_ROUTER = FindingType(
    "bridge-is-router",
    _WARNING,
    "if this host is the router, nothing. Else Docker's bridge driver took its address and "
    "default route: `docker network rm` the network that did it, `ip addr del {address} dev "
    "{bridge}`, `ip addr add HOST/{prefix} dev {bridge}` with the host's own address as HOST, "
    "`ip route replace default via {router}`. See docs/operate/networks.md",
)
SUBNET_MISMATCH = FindingType(
    "subnet-mismatch",
    _WARNING,
    "make the network anew with the --subnet that is served there, or on the right parent",
)

# The store

STATE_DIR_DENIED = FindingType(
    "state-dir-denied",
    _ERROR,
    "`chown` it to the user that D4D runs as, mode 0700, on a file system that is not read-only; "
    "or set D4D_STATE_DIR",
)
STATE_DIR_OPEN = FindingType(
    "state-dir-open", _WARNING, "`chmod 0700`: others could put leases into it, or take them away"
)
DISK_FULL = FindingType(
    "disk-full", _ERROR, "free some space there: no container gets an address without it"
)
DISK_NEARLY_FULL = FindingType("disk-nearly-full", _WARNING, "free some space there")
STORE_UNREADABLE = FindingType(
    "store-unreadable",
    _WARNING,
    "run the doctor as root; if it is root, see the disk, and who else holds the file",
)
STORE_DAMAGED = FindingType(
    "store-damaged",
    _ERROR,
    "stop D4D, keep a copy, and restore a backup or move the file away: see docs/operate/backup.md",
)
STORE_CHECK_COMPLAINS = FindingType(
    "store-check-complains",
    _WARNING,
    "give nothing up: all that is in it can be read. `d4d backup` saves the leases while it can, "
    "and restored into a new file they are all there: see docs/operate/backup.md; see the "
    "disk, too",
)
STORE_FOREIGN_ROW = FindingType(
    "store-foreign-row",
    _ERROR,
    "did somebody edit it? D4D does not start with it: keep a copy, and mend or take out that one "
    "row with sqlite3, or restore a backup: see docs/operate/backup.md",
)
STORE_EMPTY = FindingType(
    "store-empty",
    _WARNING,
    "if leases were in it, copy the file and its log before D4D starts, which begins anew with "
    "what Docker knows, and restore a backup: see docs/operate/backup.md",
)
HISTORY_DAMAGED = FindingType(
    "history-damaged",
    _WARNING,
    "no lease is in it: D4D puts a damaged one aside as history.db.broken, and begins a new one; "
    "a row that was edited, mend with sqlite3",
)
STORE_TOO_NEW = FindingType(
    "store-too-new", _ERROR, "run the later D4D that wrote it, or restore a backup of before"
)
STORE_FORGETS = FindingType(
    "store-forgets",
    _WARNING,
    "set D4D_STORE=sqlite: after a restart the range allocator would give out addresses in use",
)
REDIS_UNREACHABLE = FindingType(
    "redis-unreachable", _ERROR, "as it says; no container gets an address meanwhile"
)
REDIS_FORGETS = FindingType(
    "redis-forgets", _WARNING, "set it in redis.conf: see docs/operate/shared-store.md"
)
REDIS_CLOCK = FindingType(
    "redis-clock", _WARNING, "have both hosts follow NTP: leases are compared by their times"
)

# DHCP

DHCP_NOT_ASKED = FindingType(
    "dhcp-not-asked", _WARNING, "as it says; for want of a capability, run the doctor as root"
)
DHCP_SILENT = FindingType(
    "dhcp-silent",
    _ERROR,
    "`tcpdump -ni {parent} port 67 or port 68` meanwhile: see whether the server runs, has free "
    "addresses, and is on this wire or behind a relay",
)
DHCP_SERVER_HERE = FindingType(
    "dhcp-server-here",
    _WARNING,
    "if it serves the parent: it does not hear its own host's broadcasts. See Servers on the "
    "Docker host itself in docs/operate/networks.md",
)
DHCP_NAMED_SILENT = FindingType(
    "dhcp-named-silent",
    _ERROR,
    "correct D4D_DHCP_SERVER, or start that server: offers of others are not taken",
)
DHCP_USELESS = FindingType(
    "dhcp-useless",
    _ERROR,
    "mend that server's configuration; `tcpdump -vni any port 67 or port 68` shows what it sends",
)
DHCP_SEVERAL = FindingType(
    "dhcp-several",
    _WARNING,
    "name those that may give leases in D4D_DHCP_SERVER, both of a pair with failover; find and "
    "stop the others",
)
DHCP_LEASE_SHORT = FindingType(
    "dhcp-lease-short",
    _WARNING,
    "set ten minutes or more in the server: a restart of D4D or of the server must not outlast it",
)

# The clock

CLOCK_UNSYNCHRONISED = FindingType(
    "clock-unsynchronised",
    _WARNING,
    "run chrony, ntpd or systemd-timesyncd: a clock that jumps makes leases seem over",
)
CLOCK_BEHIND = FindingType(
    "clock-behind",
    _ERROR,
    "set the clock: until it is past that time again, D4D takes leases for fresh that are over",
)

AILMENTS = tuple(each for each in vars().copy().values() if isinstance(each, FindingType))
"""All of them, in this order."""
