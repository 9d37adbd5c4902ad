"""A real server that speaks S3 for the tests of uploads: one for all, started when the first of them asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ops import s3


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    """Skipped where there is no Go to build it with; `.ci/run` has it, and lets nothing be skipped."""
    if why := s3.lacks():
        pytest.skip(why)
    server = s3.Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


class Store:
    """Where files are kept, and what is there."""

    def __init__(self, folder: Any, server: s3.Server | None) -> None:
        self.folder, self.server = folder, server

    def names(self) -> list[str]:
        if self.server is not None:
            return self.server.names()
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def bytes(self) -> int:
        root = self.folder if self.server is None else self.server.objects / s3.BUCKET
        return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, settings: Any, tmp_path: Any) -> Iterator[Store]:
    """Each test runs with the files in a folder, and with them at the server."""
    options: dict[str, Any]
    if request.param == "s3":
        server = request.getfixturevalue("s3_server")
        given = server.environment
        settings.MEDIA_S3_BUCKET, settings.MEDIA_S3_ENDPOINT = given["MEDIA_S3_BUCKET"], server.url
        options = {
            "bucket_name": given["MEDIA_S3_BUCKET"],
            "endpoint_url": server.url,
            "region_name": given["MEDIA_S3_REGION"],
            "access_key": given["MEDIA_S3_ACCESS_KEY"],
            "secret_key": given["MEDIA_S3_SECRET_KEY"],
        }
        default = {"BACKEND": "common.bucket.Bucket", "OPTIONS": options}
        found = Store(tmp_path, server)
        for name in server.names():  # what the test before has left
            (server.objects / s3.BUCKET / name).unlink()
    else:
        settings.MEDIA_ROOT = tmp_path / "media"
        default = settings.STORAGES["default"]
        found = Store(tmp_path / "media", None)
    settings.STORAGES = settings.STORAGES | {"default": default}
    return found
