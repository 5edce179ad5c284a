"""The base of all settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every group of settings: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
