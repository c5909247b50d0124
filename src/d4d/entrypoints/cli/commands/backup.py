"""Commands that copy what the store holds into a file, and back."""

import os
from pathlib import Path
from typing import Annotated

import typer

from d4d.entrypoints.cli.output import ExitCode, report_errors

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


@report_errors
def backup(
    file: File,
    *,
    everyone: Annotated[
        bool, typer.Option("--all", help="Of all hosts that share the store.")
    ] = False,
) -> None:
    """Copy pools, leases and reservations into a file. The driver may run."""
    import asyncio  # noqa: PLC0415 - --help is asked more often

    from d4d.adapters.stores.backup_file import backup_to_text  # noqa: PLC0415 - as above
    from d4d.bootstrap import compose  # noqa: PLC0415 - as above
    from d4d.operations.backup import back_up  # noqa: PLC0415 - as above
    from d4d.settings.loading import load_settings  # noqa: PLC0415 - as above

    made = asyncio.run(back_up(compose(load_settings()), everyone=everyone))
    _write(file, backup_to_text(made))
    typer.echo(f"{made}, of {', '.join(made.hosts)}, are in {file}.")


@report_errors
def restore(
    file: File,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of what the store has.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Put back what d4d backup copied. The driver must not run."""
    import asyncio  # noqa: PLC0415 - --help is asked more often

    from d4d.adapters.stores.backup_file import backup_from_text  # noqa: PLC0415 - as above
    from d4d.bootstrap import compose  # noqa: PLC0415 - as above
    from d4d.operations import backup as backups  # noqa: PLC0415 - as above
    from d4d.settings.loading import load_settings  # noqa: PLC0415 - as above

    def agree(intent: str) -> None:
        typer.echo(intent, err=True)
        if not yes:
            typer.confirm("Restore it?", abort=True, err=True)

    found = backup_from_text(_read(file), str(file))
    parts = compose(load_settings())
    done = asyncio.run(backups.restore(parts, found, replacing=replace, agree=agree))
    typer.echo(
        f"{done.pools} pools, {done.leases} leases, {done.reservations} reservations were "
        f"restored. This host's name is {done.host}."
    )
    if done.outdated:
        typer.echo(f"{done.outdated} freed leases were not: others have their addresses by now.")
    for each in done.refused:
        typer.echo(f"not restored: {each}", err=True)
    if done.refused:
        raise typer.Exit(ExitCode.FAILED)


def _read(file: Path) -> str:
    from d4d.domain.errors import BadRequest  # noqa: PLC0415 - --help is asked more often

    try:
        # bytes that are no text must not hide which file it is, and its checksum refuses them
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadRequest(f"can't read the backup {file}: {error.strerror}") from error


def _write(file: Path, text: str) -> None:
    """Have ``text`` in ``file``, on the disk, for its owner alone; or leave it as it was."""
    from tempfile import NamedTemporaryFile  # noqa: PLC0415 - --help is asked more often

    from d4d.domain.errors import BadRequest  # noqa: PLC0415 - as above

    target = file.resolve()
    if target.exists() and not target.is_file():
        raise BadRequest(f"can't write the backup to {file}: it is no plain file")
    try:
        with NamedTemporaryFile("w", dir=target.parent, prefix=".d4d-", delete=False) as made:
            try:
                made.write(text)
                made.flush()
                os.fsync(made.fileno())
                Path(made.name).replace(target)
            except BaseException:
                Path(made.name).unlink()
                raise
    except OSError as error:
        raise BadRequest(f"can't write the backup to {file}: {error.strerror}") from error
