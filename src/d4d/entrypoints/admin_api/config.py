"""The settings in effect, for the API and for ``d4d config``."""

from collections.abc import Collection

from d4d.entrypoints.admin_api.schemas import ConfigResponse, SettingSchema
from d4d.settings.loading import shown, source
from d4d.settings.model import Settings


def effective(settings: Settings, *, given: Collection[str] = ()) -> ConfigResponse:
    """Every setting, and where it was taken from; ``given`` are those of the command line.

    Raises BadRequest.
    """
    return ConfigResponse(
        settings=[
            SettingSchema(
                name=f"D4D_{field.upper()}",
                value=shown(settings, field),
                source=source(field, given=given),
            )
            for field in Settings.model_fields
        ]
    )
