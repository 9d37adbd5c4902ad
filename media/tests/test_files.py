"""Uploads from the wish to send one to the page that shows it, with the files in a folder and at a server of S3."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections, transaction
from django.test import Client
from PIL import Image

from accounts.models import Organization
from accounts.tests.factories import make_client, make_user
from common.ids import encode, uuid7
from marketplace.tests.factories import make_model
from media import services
from media.errors import QuotaExceeded
from media.models import File

GPS = 0x8825


def picture(width: int = 300, height: int = 200, format: str = "PNG", **values: Any) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(out, format, **values)
    return out.getvalue()


def flood() -> bytes:
    """A PNG of a few bytes that promises 2,500 million pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def with_gps() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "here I live"
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    return picture(300, 200, "JPEG", exif=exif, comment=b"secret comment")


class Publisher:
    def __init__(self) -> None:
        self.user = make_user(platform_role="developer")
        self.organization = Organization.objects.of_member(self.user).get()
        self.client = make_client()
        self.client.force_login(self.user)

    def model(self, status: str = "published") -> Any:
        return make_model(publisher=self.organization, status=status)

    def begin(self, **values: Any) -> Any:
        return self.client.post("/api/files", values, content_type="application/json")

    def upload(self, content: bytes, **values: Any) -> File:
        """By the API, as a program does it: promised, sent, completed, and checked."""
        made = self.begin(size=len(content), **{"name": "picture.png", "media_type": "image/png", **values})
        assert made.status_code == 201, made.content
        sent = send(made.json()["upload"], content)
        assert sent == 204
        done = self.client.post(f"/api/files/{made.json()['id']}/complete", {}, content_type="application/json")
        assert done.status_code == 200, done.content
        assert done.json()["status"] == "arrived"
        services.check_files()
        return File.objects.get(pk=File.objects.latest("id").pk)


def send(upload: Any, content: bytes, **fields: str) -> int:
    """The status of what the address of an upload answers."""
    given = {**upload["fields"], **fields}
    file = SimpleUploadedFile("x", content, content_type="application/octet-stream")
    if "/api/uploads/" in upload["url"]:
        path = "/api/uploads/" + upload["url"].rpartition("/")[2]
        return Client().post(path, {**given, "file": file}).status_code
    with httpx.Client(trust_env=False) as client:
        return client.post(upload["url"], data=given, files={"file": ("x", content)}).status_code


pytestmark = pytest.mark.django_db


def test_a_screenshot_by_the_api(store):
    publisher = Publisher()
    ai_model = publisher.model()
    file = publisher.upload(
        with_gps(),
        model=ai_model.public_id,
        kind="screenshot",
        alt="The answer",
        media_type="image/jpeg",
        name="../../me at home.JPG",
    )
    assert (file.status, file.media_type, file.width, file.height) == ("ready", "image/webp", 200, 300)
    assert file.name == "me at home.jpg"
    assert store.names() == [f"files/{file.pk}/1/200.webp", f"quarantine/{file.pk}"]
    services.sweep_files()
    assert store.names() == file.stored
    assert store.bytes() == file.size == File.objects.all().taken(publisher.organization.pk)

    shown = Client().get(f"/api/models/{ai_model.public_id}/files").json()["data"]
    assert [row["alt"] for row in shown] == ["The answer"]
    answer = Client().get(shown[0]["urls"][0].partition("8000")[2])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert answer.headers["Content-Disposition"] == 'inline; filename="screenshot-200.webp"'
    drawn = Image.open(io.BytesIO(answer.content))
    assert not drawn.getexif()
    assert not drawn.info.keys() & {"exif", "comment", "icc_profile", "xmp"}
    assert b"here I live" not in answer.content


def test_a_logo_replaces_the_one_before(store):
    publisher = Publisher()
    ai_model = publisher.model()
    old = publisher.upload(picture(), model=ai_model.public_id, kind="logo")
    ai_model.refresh_from_db()
    assert ai_model.logo == old.pk
    new = publisher.upload(picture(70, 90), model=ai_model.public_id, kind="logo")
    ai_model.refresh_from_db()
    assert ai_model.logo == new.pk
    assert list(File.objects.all()) == [new]
    services.sweep_files()
    assert store.names() == sorted(new.stored)
    assert new.parts == ["64.webp", "128.webp", "256.webp"]
    assert publisher.client.delete(f"/api/files/{new.public_id}").status_code == 204
    ai_model.refresh_from_db()
    assert ai_model.logo is None
    services.sweep_files()
    assert store.names() == []


@pytest.mark.parametrize(
    ("media_type", "content", "refusal"),
    [
        ("image/png", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not_what_it_says"),
        ("image/png", picture(20, 20, "JPEG"), "not_what_it_says"),
        ("image/jpeg", picture(20, 20, "GIF"), "not_what_it_says"),
        ("image/png", picture(400, 300)[:9_000], "not_what_it_says"),
        ("image/png", flood(), "too_many_pixels"),
    ],
)
def test_what_is_no_picture_is_refused(media_type, content, refusal):
    publisher = Publisher()
    file = publisher.upload(
        content, model=publisher.model().public_id, kind="screenshot", alt="x", media_type=media_type
    )
    assert (file.status, file.refusal, file.size, file.stored) == ("refused", refusal, 0, [])
    told = publisher.client.get(f"/api/files/{file.public_id}").json()
    assert told["refusal"]["code"] == refusal
    assert Client().get(f"/media/{file.public_id}/480.webp").status_code == 404


@pytest.mark.parametrize(
    ("media_type", "content", "is_ready"),
    [
        ("application/json", b'{"text": "Hello"}', True),
        ("application/json", b"[" * 100_000, False),
        ("text/csv", b"a,b\n1,2\n", True),
        ("text/plain", b"PK\x03\x04", False),
        ("text/plain", b"<script>alert(1)</script>", True),
        ("text/plain", "ünïcode".encode("latin-1"), False),
        ("audio/wav", b"RIFF....WAVEfmt ", False),
    ],
)
def test_examples_are_what_they_say_and_only_downloaded(media_type, content, is_ready):
    publisher = Publisher()
    file = publisher.upload(
        content, model=publisher.model().public_id, kind="example", media_type=media_type, name="sample.html"
    )
    assert (file.status == "ready") == is_ready
    if is_ready:
        answer = Client().get(file.url_of("file"))
        assert answer.content == content
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")


def test_an_address_takes_exactly_what_was_promised(store):
    publisher = Publisher()
    content = picture()
    values = {"kind": "logo", "name": "a.png", "media_type": "image/png", "size": len(content)}
    made = publisher.begin(**values, model=publisher.model().public_id).json()
    assert send(made["upload"], content + b"x") >= 400
    assert send(made["upload"], content[:-1]) >= 400
    assert send(made["upload"], content, **{"Content-Type": "text/html"}) >= 400
    assert send(made["upload"], content, key="files/elsewhere") >= (400 if store.server else 200)
    signed = "x-amz-signature" if store.server else "signature"
    if store.server:
        done = publisher.client.post(f"/api/files/{made['id']}/complete", {}, content_type="application/json")
        assert done.json()["code"] == "nothing_arrived"
        assert send(made["upload"], content, **{signed: "0" * 64}) >= 400
        assert store.names() == []


def test_whoever_has_no_signature_sends_nothing(settings):
    publisher = Publisher()
    content = picture()
    made = publisher.begin(
        kind="logo", model=publisher.model().public_id, name="a", media_type="image/png", size=len(content)
    ).json()
    assert send(made["upload"], content, signature="A" * 43) == 404
    assert send({**made["upload"], "url": f"/api/uploads/{encode('fil', uuid7())}"}, content) == 404
    assert send(made["upload"], content) == 204
    assert send(made["upload"], content) == 410


def test_what_a_draft_shows_is_its_publishers_alone():
    publisher, stranger = Publisher(), Publisher()
    file = publisher.upload(picture(), model=publisher.model("draft").public_id, kind="logo")
    address = file.url_of("128.webp")
    assert publisher.client.get(address).headers["Cache-Control"] == "private, no-cache"
    assert Client().get(address).status_code == stranger.client.get(address).status_code == 404
    assert stranger.client.delete(f"/api/files/{file.public_id}").status_code == 404
    assert publisher.client.get(f"/media/{file.public_id}/..%2f128.webp").status_code == 404
    foreign = file.ai_model.public_id
    made = stranger.begin(kind="logo", model=foreign, name="a", media_type="image/png", size=9)
    assert made.status_code == 422


def test_files_go_with_their_model(store):
    publisher = Publisher()
    ai_model = publisher.model("draft")
    publisher.upload(picture(), model=ai_model.public_id, kind="screenshot", alt="x")
    publisher.begin(kind="example", model=ai_model.public_id, name="a.txt", media_type="text/plain", size=9)
    publisher.client.delete(f"/api/models/{ai_model.public_id}")
    assert not File.objects.exists()
    services.sweep_files()
    assert store.names() == []
    public = publisher.model()
    publisher.upload(picture(), model=public.public_id, kind="logo")
    publisher.client.delete(f"/api/models/{public.public_id}")  # archived
    services.sweep_files()
    assert store.names() == []


def test_a_check_that_broke_off_leaves_nothing(store, monkeypatch):
    publisher = Publisher()
    from media.services import checking

    with monkeypatch.context() as patch:
        patch.setattr(checking, "_show", lambda *_: None)  # the worker dies here
        file = publisher.upload(picture(), model=publisher.model().public_id, kind="logo")
    assert file.status == "arrived"
    File.objects.update(leased_until=None)
    services.check_files()
    file.refresh_from_db()
    assert file.stored_as.endswith("/2")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE media_removal SET due_at = clock_now()")
    services.sweep_files()
    assert store.names() == sorted(file.stored)


def test_by_form_without_javascript():
    publisher = Publisher()
    ai_model = publisher.model("draft")
    address = f"/publish/{ai_model.public_id}/media"
    page = publisher.client.get(address)
    assert page.status_code == 200
    sent = {"kind": "screenshot", "act": "upload", "screenshot-alt": "What it says"}
    file = SimpleUploadedFile("shot.png", picture(), content_type="image/png")
    answer = publisher.client.post(address, {**sent, "screenshot-file": file})
    assert answer.status_code == 302, answer.content
    assert b"Being checked" in publisher.client.get(address).content
    services.check_files()
    row = File.objects.get()
    assert row.url_of("300.webp").encode() in publisher.client.get(address).content
    evil = SimpleUploadedFile("x.svg", b"<svg/>", content_type="image/svg+xml")
    refused = publisher.client.post(address, {**sent, "screenshot-file": evil})
    assert refused.status_code == 422
    assert b"Taken are" in refused.content
    publisher.client.post(address, {"act": "remove", "file": row.public_id})
    assert not File.objects.exists()
    logo = SimpleUploadedFile("l.png", picture(), content_type="image/png")
    assert publisher.client.post("/publish/logo", {"kind": "logo", "logo-file": logo}).status_code == 302
    services.check_files()
    assert File.objects.get().ai_model is None


def test_the_quota_counts_what_was_promised(settings):
    settings.MEDIA_QUOTA_MIB = 1
    publisher = Publisher()
    ai_model = publisher.model()
    values = {"kind": "example", "name": "a.txt", "media_type": "text/plain", "model": ai_model.public_id}
    assert publisher.begin(**values, size=1024 * 1024 - 10).status_code == 201
    refused = publisher.begin(**values, size=11)
    assert (refused.status_code, refused.json()["code"]) == (409, "media_quota_exceeded")
    assert refused.json()["left_bytes"] == 10
    assert publisher.begin(**values, size=10).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_the_quota_is_exact_however_many_ask(settings):
    settings.MEDIA_QUOTA_MIB = 1
    publisher = Publisher()
    models = [publisher.model() for _ in range(2)]

    def ask(number: int) -> bool:
        try:
            services.begin(
                organization=publisher.organization,
                ai_model=models[number % 2],
                kind="example",
                name="a.txt",
                media_type="text/plain",
                size=300 * 1024,
            )
        except QuotaExceeded:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(ask, range(16)))
    assert sum(taken) == 3
    assert File.objects.all().taken(publisher.organization.pk) == 3 * 300 * 1024


def test_one_row_each_and_no_query_more(django_assert_max_num_queries):
    publisher = Publisher()
    ai_model = publisher.model()
    for number in range(8):
        publisher.upload(picture(), model=ai_model.public_id, kind="screenshot", alt=f"Number {number}")
    with django_assert_max_num_queries(12) as queries:
        Client().get(f"/api/models/{ai_model.public_id}/files")
    many = len(queries)
    File.objects.exclude(alt="Number 1").delete()
    with django_assert_max_num_queries(12) as queries:
        Client().get(f"/api/models/{ai_model.public_id}/files")
    assert len(queries) == many


def test_the_sum_is_read_from_an_index_alone():
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute("EXPLAIN SELECT sum(size) FROM media_file WHERE organization_id = gen_random_uuid()")
        assert "file_taken" in "\n".join(row[0] for row in cursor.fetchall())


def test_pages_show_what_was_uploaded():
    publisher = Publisher()
    ai_model = publisher.model()
    page = f"/models/{publisher.organization.slug}/{ai_model.slug}"
    assert b"/media/" not in Client().get(page).content
    logo = publisher.upload(picture(), model=ai_model.public_id, kind="logo")
    shot = publisher.upload(picture(), model=ai_model.public_id, kind="screenshot", alt="Its <b>answer</b>")
    publisher.upload(
        b"hello", model=ai_model.public_id, kind="example", name="greeting.txt", media_type="text/plain", alt="A word"
    )
    own = publisher.upload(picture(), kind="logo")
    shown = Client().get(page).content.decode()
    assert logo.url_of("128.webp") in shown
    assert f'src="{shot.url_of("300.webp")}"' in shown
    assert 'alt="Its &lt;b&gt;answer&lt;/b&gt;"' in shown
    assert "greeting.txt" in shown
    assert own.url_of("128.webp") in Client().get(f"/publishers/{publisher.organization.slug}").content.decode()
    assert logo.url_of("128.webp") in Client().get("/models?q=sentiment").content.decode()
    told = Client().get(f"/api/models/{ai_model.public_id}").json()
    assert told["logo"].endswith(logo.url_of("256.webp"))
