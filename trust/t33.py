"""Whatever is uploaded, nothing that is served from this site runs, hides where it was made, or takes more than it may.

A trial is one file of `uploads.py`, sent to a site that keeps files in a folder and to one that keeps them at a server
of S3: promised, sent to the address that was given, checked and looked at as a visitor gets it. Some do with the
address what they may not. Then many ask for the last room at once, and what is stored is counted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trust.harness import Context, Result
from trust.registry import Sabotage

if TYPE_CHECKING:
    import httpx

    from trust.ground import Web
    from trust.uploads import Sent

PER, MODELS = 40, 12  # trials at a time, and listings that they are shared out among
QUOTA_MIB, ASKED, ASKERS = 8, 1_500_000, 16  # the last room: five fit
MOST_GROWTH_KIB = 128 * 1024
DECODER_KIB = 32 * 1024  # of a decoder that has decoded nothing
#: What a browser may be told that a file is.
PICTURE, TYPES = "image/webp", {"image/png", "image/jpeg", "image/webp", "audio/wav", "text/plain; charset=utf-8"}
NAME = re.compile(r"(quarantine/[0-9a-f-]{36}|files/[0-9a-f-]{36}/\d+/(\d+\.webp|file))")
_CHECKS = "    found = decoder.check(file.kind, file.claimed_type, raw)\n"

SABOTAGES = (
    Sabotage(
        "trust Content-Type",
        "media/services/checking.py",
        _CHECKS,
        "    found = Checked(file.claimed_type, 1, 1, (('file' if file.kind == 'example' else '64.webp', raw),))\n",
    ),
    Sabotage(
        "whatever Pillow opens",
        "media/services/decoder.py",
        "formats=[FORMATS[media_type]])",
        "formats=None)",
    ),
    Sabotage(
        "metadata is kept",
        "media/services/decoder.py",
        'image.save(out, "WEBP", quality=84, method=3)',
        'image.save(out, "WEBP", quality=84, method=3, exif=getattr(image, "kept", b"") or b"zqHereILive")',
    ),
    Sabotage(
        "pixels without a limit",
        "media/services/decoder.py",
        "    if width * height > MOST_PIXELS[media_type] or max(width, height) > LONGEST_SIDE:\n",
        "    if False:\n",
    ),
    Sabotage(
        "served by what was claimed",
        "media/views.py",
        '        return "text/plain; charset=utf-8"\n',
        '        return "text/html"\n',
    ),
    Sabotage(
        "examples open in the browser",
        "media/views.py",
        "content_disposition_header(not file.is_picture, ",
        "content_disposition_header(False, ",
    ),
    Sabotage(
        "no sandbox",
        "media/views.py",
        "default-src 'none'; frame-ancestors 'none'; sandbox",
        "default-src *",
    ),
    Sabotage(
        "the quota is counted without a lock",
        "media/services/room.py",
        "    Organization.objects.select_for_update(no_key=True).get(pk=organization_id)\n",
        "    return\n",
    ),
    Sabotage(
        "what arrives is not measured",
        "media/services/uploads.py",
        "        if files.size_of(file.quarantine) != file.size:\n",
        "        if False:\n",
    ),
    Sabotage(
        "a policy without a size",
        "common/bucket.py",
        '["content-length-range", size, size]',
        '["content-length-range", 0, 10_000_000]',
    ),
    Sabotage(
        "an address without a signature",
        "media/services/uploads.py",
        "        raise NotFound() from None\n    if file.status",
        "        pass\n    if file.status",
    ),
    Sabotage(
        "names as they come",
        "media/services/uploads.py",
        "        name=safe_name(name, media_type),\n",
        "        name=name[:100],\n",
    ),
    Sabotage(
        "what is replaced stays",
        "media/services/checking.py",
        "                    files.remove(name)\n",
        "                    pass\n",
    ),
)


def lacks() -> str:
    """Why it cannot be tried on this machine, or ""."""
    from ops import s3

    return s3.lacks()


@dataclass(slots=True)
class Shop:
    """A site, where it keeps files, and a publisher of it."""

    name: str
    web: Web
    files: Path  # the folder in which the files lie, whoever serves it
    client: httpx.Client
    organization: Any
    models: list[Any]
    endpoint: str  # of the server of S3; empty where it is a folder
    visitor: httpx.Client  # who is nobody

    def stored(self) -> dict[str, int]:
        """Bytes by name."""
        found = (path for path in self.files.rglob("*") if path.is_file())
        return {str(path.relative_to(self.files)): path.stat().st_size for path in found}


@dataclass(slots=True)
class Tried:
    """What became of one file. ends: of `uploads`."""

    sent: Sent
    id: str = ""
    ends: str = ""
    upload: Mapping[str, Any] | None = None


def run(context: Context) -> Result:
    from trust.uploads import sent_at

    with _shops(context) as shops:
        before = {shop.name: _memory(shop.web, "VmRSS") for shop in shops}
        for trial in context.each(per=PER):
            files = [sent_at(trial.number + index, trial.random) for index in range(trial.size)]
            for shop in shops:
                with _storage(shop):
                    _try(context, shop, files)
        for shop in shops:
            with _storage(shop):
                _count(context, shop)
            grown = _memory(shop.web, "VmHWM") - before[shop.name]
            context.worst("web_growth_mib", grown / 1024)
            context.expect(grown <= MOST_GROWTH_KIB, f"{shop.name}: a web process grew by {grown / 1024:.0f} MiB")
    _flood(context)
    return context.result()


# --- Two sites ---


@contextmanager
def _shops(context: Context) -> Iterator[list[Shop]]:
    import httpx

    from ops import s3
    from trust import world

    ground = context.ground
    folder = ground.directory / "media-of-t33"
    server = s3.Server(ground.directory / f"s3-{context.seed}")
    shops: list[Shop] = []
    try:
        given = {"folder": {"MEDIA_DIR": str(folder)}, "bucket": server.environment}
        for name, more in given.items():
            web = ground.start_web(MEDIA_QUOTA_MIB=str(QUOTA_MIB), **more)
            person = world.make_person(platform_role="developer")
            _key, secret = world.make_key(person, permissions=["models:read", "models:write"])
            client = httpx.Client(
                base_url=web.url,
                headers={"Authorization": f"Bearer {secret}"},
                trust_env=False,
                timeout=60,
            )
            visitor = httpx.Client(base_url=web.url, trust_env=False, timeout=60)
            files = folder if name == "folder" else server.objects / s3.BUCKET
            endpoint = server.url if name == "bucket" else ""
            shop = Shop(name, web, files, client, person.personal_organization, [], endpoint, visitor)
            shop.models = [_model(shop, f"Number {number}") for number in range(MODELS)]
            shops.append(shop)
        yield shops
    finally:
        for shop in shops:
            shop.client.close()
            shop.visitor.close()
            shop.web.stop()
        server.stop()


def _model(shop: Shop, name: str) -> Any:
    from marketplace import services as marketplace
    from trust import world

    made = marketplace.create_model(
        publisher=shop.organization,
        name=name,
        description="Tells it.",
        version="1.0.0",
        category="other",
        api_spec={"input": world.TEXT_IN, "output": world.LABEL_OUT},
        pricing=marketplace.Terms(type="free"),
    )
    marketplace.submit(ai_model=made)
    return marketplace.publish(ai_model=made, by_staff=True)


@contextmanager
def _storage(shop: Shop) -> Iterator[None]:
    """This process, which checks and sweeps as a worker does, with the settings of that site."""
    from django.conf import settings
    from django.test import override_settings

    from ops import s3

    backend = "django.core.files.storage.FileSystemStorage"
    options: dict[str, Any] = {"location": str(shop.files), "allow_overwrite": True}
    if shop.endpoint:
        backend = "common.bucket.Bucket"
        keys = {"access_key": s3.ACCESS_KEY, "secret_key": s3.SECRET_KEY}
        options = {"bucket_name": s3.BUCKET, "endpoint_url": shop.endpoint, "region_name": s3.REGION, **keys}
    with override_settings(
        STORAGES={**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": options}},
        MEDIA_QUOTA_MIB=QUOTA_MIB,
        MEDIA_S3_BUCKET=s3.BUCKET if shop.endpoint else "",
        MEDIA_S3_ENDPOINT=shop.endpoint,
    ):
        yield


# --- One file each ---


def _try(context: Context, shop: Shop, sent: list[Sent]) -> None:
    from media import services
    from media.models import File

    tried = [_send(context, shop, model, one) for model, one in _shared_out(shop, sent)]
    while services.check_files():
        pass
    listed = shop.client.get("/api/files", params={"limit": 100})
    context.expect(listed.status_code == 200, f"{shop.name}: the list of files answers {listed.status_code}")
    told = {row["id"]: row for row in listed.json().get("data", ())}
    for one in tried:
        _judge(context, shop, one, told.get(one.id))
    for one in tried:
        if one.sent.abuse == "again" and one.upload is not None:
            _post(shop, one.upload, one.sent.content)
    for file in File.objects.filter(organization=shop.organization):
        services.remove(file=file)
    _sweep(context)
    left = sorted(shop.stored())
    context.expect(not left, f"{shop.name}: of files that were deleted there is left {left[:3]}")


def _shared_out(shop: Shop, sent: list[Sent]) -> Iterator[tuple[Any, Sent]]:
    """A listing for each: of two logos of one the newer would be meant alone."""
    logos = 0
    for number, one in enumerate(sent):
        if one.kind == "logo" and logos < MODELS:
            yield shop.models[logos], one
            logos += 1
        else:
            yield shop.models[number % MODELS], replace(one, kind="screenshot") if one.kind == "logo" else one


def _send(context: Context, shop: Shop, ai_model: Any, sent: Sent) -> Tried:
    """Promised, sent, completed; as far as it comes."""
    tried = Tried(sent, ends="not taken")
    body = {"kind": sent.kind, "model": ai_model.public_id, "name": sent.name[:200], "media_type": sent.claimed}
    body |= {"size": len(sent.content), "alt": "What is to be seen"}
    made = shop.client.post("/api/files", json=body)
    context.expect(made.status_code < 500, f"{shop.name}, {sent.what}: {made.status_code}")
    if made.status_code != 201:
        return tried
    tried.id, tried.upload, tried.ends = made.json()["id"], _here(shop, made.json()["upload"]), "refused"
    status = _abuse(shop, tried, tried.upload, sent)
    harmless = ("", "again", "after its time") if shop.endpoint else ("", "again", "other key", "another field")
    if sent.abuse in harmless:
        if sent.abuse != "after its time":
            context.expect(status == 204, f"{shop.name}, {sent.what}: {status} for what was promised")
    else:
        context.expect(400 <= status < 500, f"{shop.name}: {status} for a file whose address is abused: {sent.abuse}")
    done = shop.client.post(f"/api/files/{tried.id}/complete", json={})
    is_complete = sent.abuse in harmless and sent.abuse != "after its time"
    context.expect(
        (done.status_code == 200) == is_complete, f"{shop.name}, {sent.what}: completed with {done.status_code}"
    )
    return tried


def _abuse(shop: Shop, tried: Tried, upload: Mapping[str, Any], sent: Sent) -> int:
    """Send it, in the way that the trial is about. Returns the status."""
    from common.ids import decode
    from media.models import File

    fields, content = dict(upload["fields"]), sent.content
    match sent.abuse:
        case "bigger":
            content += b"x"
        case "smaller":
            content = content[:-1]
        case "other type":
            fields["Content-Type"] = "text/html"
        case "other key":
            fields["key"] = "files/evil.html"
        case "other signature":
            fields |= dict.fromkeys(("x-amz-signature", "signature") & fields.keys(), "0" * 64)
        case "no signature":
            fields = {name: value for name, value in fields.items() if not name.endswith("signature")}
        case "another field":
            fields["acl"] = "public-read"
        case "after its time":
            File.objects.filter(pk=decode("fil", tried.id)).update(upload_until="2020-01-01T00:00:00Z")
    return _post(shop, {**upload, "fields": fields}, content)


def _here(shop: Shop, upload: Mapping[str, Any]) -> dict[str, Any]:
    """An upload, with the address at which this process answers in place of the site's."""
    return {**upload, "url": re.sub(r"^http://localhost:8000(?=/api/uploads/)", shop.web.url, upload["url"])}


def _post(shop: Shop, upload: Mapping[str, Any], content: bytes) -> int:
    file = ("x.html", content, "text/html")
    return shop.visitor.post(str(upload["url"]), data=upload["fields"], files={"file": file}).status_code


def _judge(context: Context, shop: Shop, tried: Tried, told: Any) -> None:
    """What a visitor gets of it, and whether that is what must come of it."""
    sent, where = tried.sent, f"{shop.name}, {tried.sent.what}"
    if not tried.id:
        context.expect(sent.ends == "not taken", f"{where}: not taken")
        return
    if not context.expect(told is not None, f"{where}: there is nothing of it"):
        return
    is_abused = told["status"] == "waiting"
    if is_abused:
        context.expect(bool(sent.abuse), f"{where}: never arrived")
        return
    context.expect(told["status"] == sent.ends, f"{where}: {told['status']}, and must be {sent.ends}")
    context.expect(
        re.fullmatch(r"[\w .()-]{1,90}", told["name"]) is not None and ".." not in told["name"],
        f"{where}: it is offered as {told['name']!r}",
    )
    for url in told["urls"] if context.is_full else told["urls"][-1:]:
        _look(context, shop, sent, "/media/" + url.partition("/media/")[2], where)
    if not told["urls"]:
        gone = shop.client.get(f"/media/{tried.id}/64.webp").status_code
        context.expect(gone == 404, f"{where}: {gone} for a file that is not shown")


def _look(context: Context, shop: Shop, sent: Sent, path: str, where: str) -> None:
    answer = shop.visitor.get(path)
    if not context.expect(answer.status_code == 200, f"{where}: {answer.status_code} at {path}"):
        return
    headers, shown = answer.headers, sent.kind != "example"
    type_ = headers["content-type"]
    context.expect(type_ == PICTURE if shown else type_ in TYPES, f"{where}: it is served as {type_}")
    context.expect(headers.get("x-content-type-options") == "nosniff", f"{where}: a browser may guess its type")
    policy = headers.get("content-security-policy", "")
    context.expect("sandbox" in policy and "default-src 'none'" in policy, f"{where}: its policy is {policy!r}")
    offered = headers.get("content-disposition", "")
    context.expect(shown or offered.startswith("attachment"), f"{where}: it opens in the browser ({offered})")
    context.expect("set-cookie" not in headers or "<script" not in str(headers), f"{where}: its name makes a header")
    if type_.startswith(("image/", "audio/")):
        context.expect(b"zqHereILive" not in answer.content, f"{where}: what it hides is served")
        context.expect(b"<script" not in answer.content, f"{where}: a script is served with it")
    if type_.startswith("image/"):
        _draw(context, answer.content, where)


def _draw(context: Context, content: bytes, where: str) -> None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "WEBP"]) as image:
            image.load()
            hidden = set(image.info) & {"exif", "xmp", "comment", "Comment", "icc_profile", "XML:com.adobe.xmp"}
            context.expect(not hidden and not image.getexif(), f"{where}: the picture carries {hidden or 'EXIF'}")
            context.expect(getattr(image, "n_frames", 1) == 1, f"{where}: the picture moves")
    except Exception as error:
        context.violation(f"{where}: what is served as a picture is none ({type(error).__name__})")


# --- All of them ---


def _sweep(context: Context) -> None:
    """As if the time of every address had gone by."""
    from media import services

    context.ground.execute("UPDATE media_removal SET due_at = now()")
    while services.sweep_files():
        pass


def _count(context: Context, shop: Shop) -> None:
    """The last room, asked for by many at once; then what is there against what is said to be."""
    from media import services
    from media.models import File

    content = b"x" * ASKED

    def ask(number: int) -> bool:
        body = {"kind": "example", "model": shop.models[number % 2].public_id, "name": "a.txt"}
        made = shop.client.post("/api/files", json={**body, "media_type": "text/plain", "size": ASKED})
        if made.status_code != 201:
            return False
        _post(shop, _here(shop, made.json()["upload"]), content)
        return shop.client.post(f"/api/files/{made.json()['id']}/complete", json={}).status_code == 200

    with ThreadPoolExecutor(ASKERS) as pool:
        taken = sum(pool.map(ask, range(ASKERS)))
    fits = QUOTA_MIB * 1024 * 1024 // ASKED
    context.expect(taken == fits, f"{shop.name}: {taken} of {ASKERS} files were taken where {fits} fit")
    while services.check_files():
        pass
    _sweep(context)
    stored, said = shop.stored(), File.objects.all().taken(shop.organization.pk)
    context.expect(sum(stored.values()) == said, f"{shop.name}: {sum(stored.values())} bytes lie there, not {said}")
    strange = [name for name in stored if not NAME.fullmatch(name)]
    context.expect(not strange, f"{shop.name}: there lies {strange[:3]}")


def _flood(context: Context) -> None:
    """The largest files, by the process that decodes, whose memory is looked at meanwhile."""
    from media.services.decoding import Decoder
    from trust.uploads import FLOODS

    with Decoder() as decoder:
        for make in FLOODS:
            sent = make(context.random)
            decoder.check(sent.kind, sent.claimed, sent.content)
            taken = _status(decoder.pid, "VmHWM")
            context.worst("decoder_mib", taken / 1024)
            context.expect(taken <= MOST_GROWTH_KIB + DECODER_KIB, f"{sent.what}: decoding took {taken / 1024:.0f} MiB")


def _memory(web: Web, line: str) -> int:
    """KiB of a process."""
    return _status(web.process.pid, line)


def _status(pid: int, line: str) -> int:
    try:
        found = re.search(rf"{line}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:  # it was ended
        return 0
    return int(found[1]) if found else 0
