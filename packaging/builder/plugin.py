"""The managed plugin of Docker's: D4D, Python and nothing else, for ``docker plugin create``."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from builder.release import PYTHONS, ROOT, CannotBuild, Release, call
from builder.settings_page import settings
from builder.tree import build_tree, settle

NAME = "d4d:latest"
"""What the plugin is to be called: Docker calls it by that, tag and all, as networks do."""

_PARTS = ROOT / "packaging" / "plugin"
_SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
"""Which Debian has our own Python: the bytecode is made by it."""
_KEPT_PROGRAMS = "python3*"
_USELESS = (
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/perl5",
    "usr/lib/*/perl*",
    "usr/lib/dpkg",
    "usr/lib/apt",
    "usr/share/dpkg",
    "usr/lib/*/gconv",
    "usr/sbin/*",
    "sbin/*",
    "bin/*",
    "var/lib/dpkg",
    "var/cache",
    "var/log/*",
)
_OWN_DEFAULTS = {
    # below a folder that the host sees: /run/docker/plugins/ID/admin.sock
    "D4D_ADMIN_BIND": "unix:/run/docker/plugins/admin.sock",
    "D4D_DOCKER_SOCKET": "/host/docker.sock",
}
_FIXED = {"D4D_PLUGIN_SOCKET", "D4D_STATE_DIR"}  # by the plugin's own configuration
_OLD_NAMES = {
    "DHCP_SERVER": "D4D_DHCP_SERVER as the old driver called it",
    "LISTEN_ADDR": "D4D_LISTEN_ADDR as the old driver called it",
    "IPAM_DEBUG": "D4D_DEBUG as the old driver called it",
}


def build_plugin(release: Release, target: Path) -> Path:
    """A folder with config.json and rootfs in ``target``. Raises CannotBuild."""
    plugin = target / f"plugin-{release.machine.deb}"
    if plugin.exists():
        shutil.rmtree(plugin)
    rootfs = plugin / "rootfs"
    build_rootfs(release, rootfs)
    (plugin / "config.json").write_text(json.dumps(configuration(), indent=2) + "\n")
    return plugin


def build_image(release: Release, target: Path) -> Path:
    """The same files as one archive in ``target``, for ``docker import``. Raises CannotBuild."""
    archive = target / f"d4d-image-{release.version}-{release.machine.deb}.tar"
    with tempfile.TemporaryDirectory() as scratch:
        rootfs = Path(scratch) / "rootfs"
        build_rootfs(release, rootfs)
        order = ("--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu")
        call(["tar", *order, "-C", rootfs, "-cf", archive, "."])
    return archive


def build_rootfs(release: Release, rootfs: Path) -> None:
    """Debian's Python, D4D and its libraries. Raises CannotBuild."""
    python = "{}.{}".format(*sys.version_info)
    suite = _SUITES.get(sys.version_info[:2])
    if suite is None:
        raise CannotBuild(
            f"Python {python} is no Debian's: make .venv with {' or '.join(map(str, _SUITES))}"
        )
    rootfs.parent.mkdir(parents=True, exist_ok=True)
    packages = f"python3-minimal,libpython{python}-stdlib,libc6"
    options = [
        "--variant=extract",
        f"--include={packages}",
        f"--architectures={release.machine.deb}",
    ]
    call(
        ["mmdebstrap", "--quiet", *options, "--format=directory", suite, rootfs],
        env=release.environment,
    )
    _slim(rootfs)
    with tempfile.TemporaryDirectory() as scratch:
        tree = build_tree(release, Path(scratch) / "tree")
        for other in set(PYTHONS) - {python}:
            for module in tree.rglob(f"*.cpython-{other.replace('.', '')}-*"):
                module.unlink()
        shutil.copytree(tree, rootfs / "usr/lib/d4d")
    program = rootfs / "usr/bin/d4d"
    program.write_bytes((_PARTS / "launcher").read_bytes())
    program.chmod(0o755)
    for folder in ("host", "run/docker/plugins", "var/lib/d4d", "run/d4d", "tmp"):
        (rootfs / folder).mkdir(parents=True, exist_ok=True)
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\n")
    (rootfs / "etc/group").write_text("root:x:0:\n")
    (rootfs / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    # never checked against its source: what is in a plugin does not change
    compile_all = [
        sys.executable,
        "-I",
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode=unchecked-hash",
    ]
    for place in ("usr/lib/d4d", f"usr/lib/python{python}"):
        call([*compile_all, "-s", rootfs, "-p", "/", rootfs / place])
    settle(rootfs, release)
    (rootfs / "tmp").chmod(0o1777)


def configuration() -> dict[str, object]:
    """What Docker is told of the plugin; each of D4D's settings is one of its own."""
    told = [
        {
            "name": each.name,
            "description": each.meaning,
            "value": _OWN_DEFAULTS.get(each.name, ""),  # an empty one counts as not set
            "settable": ["value"],
        }
        for each in settings()
        if each.name not in _FIXED
    ]
    told += [
        {"name": name, "description": meaning, "value": "", "settable": ["value"]}
        for name, meaning in _OLD_NAMES.items()
    ]
    socket = f"{NAME}.sock"
    fixed = {"D4D_PLUGIN_SOCKET": f"/run/docker/plugins/{socket}"}
    told += [{"name": name, "description": "", "value": value} for name, value in fixed.items()]
    return {
        "description": "D4D, DHCP for Docker: containers with addresses from your DHCP server",
        "documentation": "docs/operate/install.md in D4D's source",
        "interface": {"types": ["docker.ipamdriver/1.0"], "socket": socket},
        "entrypoint": ["/usr/bin/d4d", "server"],
        "workdir": "/",
        "network": {"type": "host"},
        # Docker keeps it over upgrades, and for as long as the plugin is not removed
        "propagatedMount": "/var/lib/d4d",
        "linux": {"capabilities": ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]},
        "mounts": [
            {
                "name": "docker",
                "description": "the folder of Docker's socket: its file is a new one at each start",
                "source": "/var/run",
                "destination": "/host",
                "type": "bind",
                "options": ["rbind", "ro"],
                "settable": ["source"],
            }
        ],
        "env": told,
    }


def _slim(rootfs: Path) -> None:
    for pattern in _USELESS:
        for path in rootfs.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    kept = set((rootfs / "usr/bin").glob(_KEPT_PROGRAMS))
    for program in set((rootfs / "usr/bin").iterdir()) - kept:
        program.unlink()
