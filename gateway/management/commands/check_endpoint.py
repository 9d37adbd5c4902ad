"""The contract check from a publisher's own machine, of an endpoint that is not listed yet."""

import asyncio
import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.ids import uuid7
from common.outbound import Door
from gateway.services.check_words import words_of
from gateway.services.contract import STREAMED_KINDS, Subject, kind_of
from gateway.services.endpoints import USUAL_HEADER, Target
from gateway.services.probes import check_contract
from marketplace.services.schemas import UnfitSchema, check_schema, validator_for, violations

LOOPBACK = ("127.0.0.0/8", "::1/128")
MARKS = {"passed": "ok", "open": "!!", "failed": "XX", "skipped": "--"}


class Command(BaseCommand):
    help = "Put the eight questions of the contract check to an endpoint. Ends with an error if one is not passed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="as it would be given in the listing")
        parser.add_argument("--protocol", choices=("json", "openai", "anthropic"), default="openai")
        parser.add_argument("--model", default="model", help="the model's name there")
        parser.add_argument("--secret", default="", help="what the endpoint wants of the gateway")
        parser.add_argument("--auth-header", default="", help="the header that carries it, if not the usual one")
        parser.add_argument("--input", help="an example of an input: JSON, or @FILE")
        parser.add_argument("--output-schema", help="the JSON Schema of the output: JSON, or @FILE")
        parser.add_argument("--timeout", type=int, default=60, help="seconds that an answer may take")
        parser.add_argument("--local", action="store_true", help="the endpoint is on this machine, http is fine")
        parser.add_argument("--json", action="store_true", help="one JSON document for each step")

    def handle(self, *args: Any, **options: Any) -> None:
        subject = _subject(options)
        door = Door(allowed=LOOPBACK, allow_http=True) if options["local"] else Door()
        failed = asyncio.run(self._ask(subject, door, as_json=options["json"]))
        if failed:
            raise CommandError(f"{failed} of 8 failed.")

    async def _ask(self, subject: Subject, door: Door, *, as_json: bool) -> int:
        failed = 0
        async with door:
            async for step in check_contract(subject, door):
                failed += step.outcome == "failed"
                if as_json:
                    self.stdout.write(json.dumps(step.document, ensure_ascii=False))
                    continue
                words = words_of(step.document)
                took = "" if step.milliseconds is None else f"  {step.milliseconds} ms"
                self.stdout.write(f"{MARKS[step.outcome]}  {words.title}{took}\n      {words.seen}")
                for label, text in (("wanted", words.wanted), ("fix", words.fix)):
                    if text:
                        self.stdout.write(f"      {label}: {text}")
        return failed


def _subject(options: dict[str, Any]) -> Subject:
    protocol, output_schema = options["protocol"], _document(options["output_schema"] or "{}", "--output-schema")
    try:
        check_schema(output_schema)
    except UnfitSchema as fault:
        raise CommandError(f"--output-schema: {fault.pointer} {fault.detail}") from None
    validator = validator_for(uuid7(), "output", output_schema)
    usual = {"messages": [{"role": "user", "content": "Say hello."}]}
    sample = _document(options["input"], "--input") if options["input"] else usual
    if protocol == "json" and not options["input"]:
        raise CommandError("--input: an endpoint of the protocol json needs an example of its input.")
    kind = kind_of(protocol, {"properties": sample})
    target = Target(
        endpoint_id=uuid7(),
        url=options["url"],
        protocol=protocol,
        upstream_model=options["model"],
        auth_header=options["auth_header"] or USUAL_HEADER.get(protocol, "Authorization"),
        secret=options["secret"] or None,
        signing_key=b"check_endpoint",
        timeout_seconds=options["timeout"],
        max_cost_nano=None,
    )
    return Subject(
        target=target,
        slug=options["model"],
        kind=kind,
        sample=sample,
        faults_of=lambda output, _size: violations(validator, output),
        needs_usage=kind in STREAMED_KINDS,
    )


def _document(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise CommandError(f"{name}: {error}") from None
    if not isinstance(found, dict):
        raise CommandError(f"{name}: give a JSON object.")
    return found
