"""The versions of a listing that is locked: made, changed while nobody relies on them, and set upon each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common import clock
from common.problems import ValidationFailed
from marketplace.errors import VersionNotHigher
from marketplace.models import AIModel, ModelVersion

ApiSpec = Mapping[str, Any]  # {"input": JSON Schema, "output": JSON Schema}
LIVE = (AIModel.Status.PUBLISHED, AIModel.Status.DEPRECATED)


def new_version(ai_model: AIModel, version: str, api_spec: ApiSpec, changelog: str | None) -> ModelVersion:
    created: ModelVersion = ai_model.versions.create(
        version=version,
        input_schema=api_spec["input"],
        output_schema=api_spec["output"],
        changelog=changelog or "",
        published_at=clock.now() if ai_model.status in LIVE else None,
    )
    return created


def make_current(ai_model: AIModel, version: ModelVersion) -> None:
    ai_model.current_version = version
    ai_model.save(update_fields=["current_version", "updated_at"])


def release(ai_model: AIModel, version: str, api_spec: ApiSpec, changelog: str | None) -> ModelVersion:
    """A version above all that there are, current from now on. Raises VersionNotHigher."""
    highest = max(ai_model.versions.all(), key=lambda known: known.number)
    if ModelVersion(version=version).number <= highest.number:
        raise VersionNotHigher(
            f"{version} is not above {highest.version}.",
            highest_version=highest.version,
            errors=[{"pointer": "/version", "code": "version_not_higher", "detail": f"Above {highest.version}."}],
        )
    released = new_version(ai_model, version, api_spec, changelog)
    make_current(ai_model, released)
    return released


def release_if_changed(ai_model: AIModel, version: str, api_spec: ApiSpec, changelog: str | None) -> None:
    """Raises VersionNotHigher, and ValidationFailed for new notes on a version that is published already."""
    current = ai_model.current_version
    if current is None or version != current.version or not _says(current, api_spec):
        release(ai_model, version, api_spec, changelog)
    elif changelog and changelog != current.changelog:
        detail = f"What {version} says is published and stays. Notes go with a higher version."
        raise ValidationFailed(errors=[{"pointer": "/changelog", "code": "immutable", "detail": detail}])


def rewrite(ai_model: AIModel, version: str, api_spec: ApiSpec, changelog: str | None) -> None:
    """Change a version that nobody was promised. Raises VersionNotHigher if an older one of the model is in the way."""
    current = ai_model.current_version
    if current is None:
        make_current(ai_model, new_version(ai_model, version, api_spec, changelog))
        return
    others = [known for known in ai_model.versions.all() if known.pk != current.pk]
    number = ModelVersion(version=version).number
    if others and number <= (highest := max(others, key=lambda known: known.number)).number:
        raise VersionNotHigher(f"{version} is not above {highest.version}.", highest_version=highest.version)
    current.version, current.input_schema, current.output_schema = version, api_spec["input"], api_spec["output"]
    current.changelog = current.changelog if changelog is None else changelog
    current.save(update_fields=["version", "input_schema", "output_schema", "changelog"])


def _says(version: ModelVersion, api_spec: ApiSpec) -> bool:
    return bool(version.input_schema == api_spec["input"] and version.output_schema == api_spec["output"])
