"""Commands about this host's D4D that need no running driver."""

from d4d.entrypoints.cli_output import Json, as_json, show, table, told


@told
def config(*, json: Json = False) -> None:
    """Show settings as a driver started here would have them, and where each comes from."""
    from d4d.entrypoints.admin import effective  # noqa: PLC0415 - --help is asked more often
    from d4d.entrypoints.admin_forms import ConfigAnswer  # noqa: PLC0415 - as above
    from d4d.settings import load_settings  # noqa: PLC0415 - as above

    answer = ConfigAnswer(settings=effective(load_settings()))
    if json:
        as_json(answer.model_dump(mode="json"))
        return
    rows = [(each.name, each.value, each.source) for each in answer.settings]
    show(table(("setting", "value", "from"), rows))
