"""A bucket of a server that speaks S3, as a storage of Django's. Imported only where the settings name one."""

from __future__ import annotations

import os
import threading
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage

#: What the server's client raises when the server does not answer, or refuses.
FAILURES = (Boto3Error, BotoCoreError, ClientError)

_lock = threading.Lock()
_connections: dict[tuple[int, str, str], Any] = {}


class Bucket(S3Storage):
    """`access_key`, `secret_key`, `bucket_name`, `region_name`, and `endpoint_url` where it is not Amazon's."""

    def __init__(self, **options: Any) -> None:
        self.config_of_client = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if options.get("endpoint_url") else "auto"},
            proxies={},  # the environment of this process leads nobody elsewhere
            connect_timeout=5,
            read_timeout=20,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        super().__init__(
            **options,
            client_config=self.config_of_client,
            transfer_config=TransferConfig(use_threads=False),  # small files; a thread for each part costs more
            file_overwrite=True,
            max_memory_size=8 * 1024 * 1024,
        )

    @property
    def connection(self) -> Any:
        """One for the whole process: under ASGI each request has a thread of its own, and making one takes 0.1 s."""
        key = (os.getpid(), str(self.endpoint_url), str(self.access_key))
        with _lock:
            if key not in _connections:
                _connections[key] = self._create_session().resource(
                    "s3", region_name=self.region_name, endpoint_url=self.endpoint_url, config=self.client_config
                )
            return _connections[key]

    def presigned_post(self, name: str, *, media_type: str, size: int, seconds: int) -> tuple[str, dict[str, str]]:
        """The address and the fields of a form by which anybody may put exactly this: name, type and bytes."""
        made = self.connection.meta.client.generate_presigned_post(
            self.bucket_name,
            name,
            Fields={"Content-Type": media_type},
            Conditions=[{"Content-Type": media_type}, ["content-length-range", size, size]],
            ExpiresIn=seconds,
        )
        return made["url"], made["fields"]
