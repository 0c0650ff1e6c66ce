"""What every part of the configuration is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown keys and wrong types are errors; values can't change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
