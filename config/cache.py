"""The shared cache, which counts attempts too: it must neither deny nor admit everyone because Redis is away."""

import time
from collections.abc import Callable
from typing import Any

import structlog
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

RETRY_AFTER_SECONDS = 5
SOCKET_TIMEOUT_SECONDS = 1

logger = structlog.get_logger(__name__)


class FallbackCache(RedisCache):
    """Django's Redis cache; while Redis is away, a cache of this process. Then each process counts for itself."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        timeouts = {"socket_timeout": SOCKET_TIMEOUT_SECONDS, "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS}
        params = {**params, "OPTIONS": {**timeouts, **params.get("OPTIONS", {})}}
        super().__init__(server, params)
        self._local = LocMemCache("fallback", {key: value for key, value in params.items() if key != "OPTIONS"})
        self._away_until = 0.0

    def _either(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() >= self._away_until:
            try:
                return getattr(RedisCache, name)(self, *args, **kwargs)
            except (RedisConnectionError, RedisTimeoutError) as error:
                self._away_until = time.monotonic() + RETRY_AFTER_SECONDS
                logger.warning("cache_away", error=str(error), retry_after_seconds=RETRY_AFTER_SECONDS)
        return getattr(self._local, name)(*args, **kwargs)


def _with_fallback(name: str) -> Callable[..., Any]:
    def method(self: FallbackCache, *args: Any, **kwargs: Any) -> Any:
        return self._either(name, *args, **kwargs)

    method.__name__ = name
    return method


_OPERATIONS = (
    "add",
    "get",
    "set",
    "touch",
    "delete",
    "get_many",
    "has_key",
    "incr",
    "set_many",
    "delete_many",
    "clear",
)
for _name in _OPERATIONS:
    setattr(FallbackCache, _name, _with_fallback(_name))
