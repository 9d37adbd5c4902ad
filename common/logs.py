"""Logs: one JSON line per event for machines, readable lines for people, and no secret in either."""

import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec
import structlog
from structlog.types import EventDict, Processor

# What identifies a leaked value is kept, what makes it usable is not.
_SECRETS = re.compile(
    r"\b(agr_(?:live|test|rt)_)[\w-]{6,}"  # our keys and refresh tokens
    r"|\b(eyJ)[\w-]{8,}[.:][\w-]+(?:[.:][\w-]*)?"  # JSON Web Tokens, and what signs links in mails
    r"|\b((?:sk|rk|pk|whsec)_)[0-9A-Za-z_+/=]{8,}"  # payment processors' and webhooks'
    r"|\b(sk-)[\w-]{16,}"  # of many providers of models
    r"|\b((?:Bearer|Basic) +)[^\s,;'\"]{12,}"
    r"|(://[^\s/:@]*:)[^\s/@]+(?=@)",  # a password in an address
    re.IGNORECASE,
)
_SECRET_NAMES = re.compile(r"authorization|password|passwd|secret|cookie|api[-_]?key|token$|pepper", re.IGNORECASE)
_FAULT_OF_A_TOKEN = re.compile(r"Forbidden \(([\w ]+)")
HIDDEN = "[hidden]"
MAX_WAITING_LINES = 100  # more would keep the calls that come meanwhile waiting

_is_json = False


def mask(text: str) -> str:
    """`text` with everything that looks like a credential made useless."""
    return _SECRETS.sub(lambda match: next(filter(None, match.groups()), "") + HIDDEN, text)


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: mask every text, drop every value whose name says that it is secret."""
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = _hide(name, value)
    return event


def _hide(name: str, value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case _ if name and _SECRET_NAMES.search(name):
            return HIDDEN
        case str():
            return mask(value)
        case Mapping():
            return {key: _hide(str(key), inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_hide("", inner) for inner in value]
        case _:
            return mask(str(value))


def _drop_framework_objects(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Django hands its loggers the request itself, whose text holds the query string."""
    event.pop("request", None)
    event.pop("status_code", None)
    return event


def _shorten_refusals(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What Django says of a request that it refuses repeats its address, its host or where it came from: the link of
    a mail among them. The kind is kept, and of a form token what is wrong with it."""
    logger = str(event.get("logger", ""))
    if logger.startswith("django.security."):
        fault = _FAULT_OF_A_TOKEN.match(str(event["event"]))
        event["event"] = f"Refused: {logger.removeprefix('django.security.')}. {fault[1] if fault else ''}".strip()
        event.pop("exc_info", None)
    return event


_BEFORE: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configure() -> None:
    """Send structlog's own events through the standard library, where `config` formats everything alike."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_BEFORE,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _colours() -> bool:
    """Whether a terminal reads along; `make up` says so for its children, who write to a pipe."""
    return "NO_COLOR" not in os.environ and (sys.stdout.isatty() or "FORCE_COLOR" in os.environ)


class Lines:
    """An event that happens at every call: its lines are made many at once, with the calls' other notes.

    Its facts are numbers and names of our own, among which there is nothing to hide. For people it is logged like any
    other event.
    """

    def __init__(self, logger: str, event: str) -> None:
        self._logger, self._event = logging.getLogger(logger), event
        self._head = msgspec.json.encode({"event": event, "level": "info", "logger": logger})[:-1].decode()
        self._waiting: list[tuple[int, Mapping[str, Any]]] = []

    def note(self, facts: Mapping[str, Any]) -> None:
        """facts: at least one, and none of them changes any more."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        if not _is_json:
            self._logger.info(self._event, extra=facts)
            return
        self._waiting.append((time.time_ns(), facts))
        if len(self._waiting) >= MAX_WAITING_LINES:
            self.write()

    def write(self) -> None:
        """Write what waits."""
        if self._waiting:
            noted, self._waiting = self._waiting, []
            sys.stdout.write("".join(self._formatted(noted)))
            sys.stdout.flush()

    def _formatted(self, noted: Sequence[tuple[int, Mapping[str, Any]]]) -> Iterator[str]:
        last = text = None
        for at, facts in noted:
            second, ns = divmod(at, 1_000_000_000)
            if second != last:
                last, text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            yield f'{self._head},"timestamp":"{text}.{ns // 1000:06}Z",{_encode(facts)[1:].decode()}\n'


_encode = msgspec.json.Encoder().encode


def config(log_format: str, level: str) -> dict[str, Any]:
    """Django's LOGGING. log_format: "json" or "console"; level: of everything that says nothing else."""
    global _is_json
    _is_json = log_format == "json"
    renderers: list[Processor] = (
        [structlog.processors.EventRenamer("event"), structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
        if log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=_colours(), exception_formatter=structlog.dev.plain_traceback)]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structlog": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _BEFORE,
                "processors": [
                    _shorten_refusals,
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _drop_framework_objects,
                    structlog.processors.format_exc_info,
                    hide_secrets,
                    *renderers,
                ],
            }
        },
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "structlog"}
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "django": {"handlers": [], "propagate": True},
            "elastic_transport": {"level": "WARNING"},  # it has a line for every request
            "django.request": {"level": "ERROR"},  # 4xx are in the access line
            "django.security.DisallowedHost": {"level": "ERROR"},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            "celery": {"level": "WARNING"},  # a line for each step of each sweep, every few seconds
            "uvicorn": {"handlers": [], "propagate": True},
            "uvicorn.error": {"level": "WARNING"},  # starting and stopping, in four lines each
            "uvicorn.access": {"handlers": [], "level": "WARNING", "propagate": True},  # paths there hold query strings
        },
    }
