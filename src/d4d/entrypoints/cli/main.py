"""The command line."""

import sys

_SERVERS_OPTIONS = ("--debug", "--dhcp-server", "--listen-addr")


def as_typer_wants(words: list[str]) -> list[str]:
    """The words of a command line, also as oam-docker-ipam's unit has them.

    That wrote ``--debug=true``, and options before the word ``server``.
    """
    rest, options = list(words), []
    while rest and rest[0].partition("=")[0] in _SERVERS_OPTIONS:
        option = rest.pop(0)
        options.append(option)
        if "=" not in option and option != "--debug" and rest:
            options.append(rest.pop(0))
    if rest[:1] == ["server"]:
        words = ["server", *options, *rest[1:]]
    debug = {"--debug=true": "--debug", "--debug=false": "--no-debug"}
    return [debug.get(word, word) for word in words]


def main() -> None:
    """The entry point of ``d4d``."""
    words = as_typer_wants(sys.argv[1:])
    if words == ["server"]:  # the service: what reads all other words takes a third of its start
        from d4d.entrypoints.cli.serve import serve  # noqa: PLC0415 - the service's alone

        serve({})
    else:
        from d4d.entrypoints.cli.app import cli  # noqa: PLC0415 - not the service's

        cli(args=words)
