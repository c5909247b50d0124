"""What dockerd is told of this plugin: constants, which it hears before there is a driver."""

MEDIA_TYPE = "application/vnd.docker.plugins.v1.1+json"

ACTIVATE = {"Implements": ["IpamDriver"]}
CAPABILITIES = {"RequiresMACAddress": True, "RequiresRequestReplay": False}
ADDRESS_SPACES = {
    "LocalDefaultAddressSpace": "d4d-local",
    "GlobalDefaultAddressSpace": "d4d-global",
}
