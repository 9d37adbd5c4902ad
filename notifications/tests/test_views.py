"""/dev/mail: there on an instance that is tried out, nowhere else, and only for what lies in its folder."""

from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.mail import EmailMultiAlternatives
from django.test import Client

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def folder(tmp_path: Path, settings: LazySettings) -> Path:
    folder = tmp_path / "mail"
    folder.mkdir()
    settings.EMAIL_BACKEND = "notifications.adapters.filemail.EmailBackend"
    settings.EMAIL_FILE_PATH = settings.DEV_MAIL_DIR = str(folder)
    return folder


def write_mail(subject: str = "Your code", text: str = "K7RT2M\n", html: str = "<p>K7RT2M</p>") -> None:
    message = EmailMultiAlternatives(subject, text, to=["Änna <anna@example.org>"])
    message.attach_alternative(html, "text/html")
    message.send()


def test_there_is_none_without_a_folder(client: Client, settings: LazySettings, tmp_path: Path):
    for value in ("", None, str(tmp_path / "missing")):
        settings.DEV_MAIL_DIR = value
        assert client.get("/dev/mail").status_code == 404
        assert client.get("/dev/mail/a.eml").status_code == 404


def test_an_empty_folder(client: Client, folder: Path):
    assert "No mail yet" in client.get("/dev/mail").content.decode()


def test_the_newest_is_first(client: Client, folder: Path):
    write_mail("First")
    write_mail("Second")
    page = client.get("/dev/mail").content.decode()
    assert page.index("Second") < page.index("First")
    assert "anna@example.org" in page


def test_a_message_with_its_code_and_link(client: Client, folder: Path):
    write_mail(text="Enter\n\nK7RT2M\n\nor open http://localhost:8000/reset?token=a&b=c\n")
    (path,) = folder.iterdir()
    response = client.get(f"/dev/mail/{path.name}")
    page = response.content.decode()
    assert response.status_code == 200
    assert "K7RT2M" in page
    assert 'href="http://localhost:8000/reset?token=a&amp;b=c"' in page
    assert "no-store" in response["Cache-Control"]


def test_mail_is_shown_not_run(client: Client, folder: Path):
    write_mail(subject=HOSTILE, text=f"{HOSTILE} javascript:alert(1)", html=HOSTILE)
    (path,) = folder.iterdir()
    for address in ("/dev/mail", f"/dev/mail/{path.name}"):
        page = client.get(address).content.decode()
        assert HOSTILE not in page
        assert 'href="javascript:' not in page
        assert "&lt;script&gt;" in page


def test_its_html_stands_in_a_frame_that_may_do_nothing(client: Client, folder: Path):
    write_mail(html=f"<head></head><p style='color:red'>Hello</p>{HOSTILE}")
    (path,) = folder.iterdir()
    page = client.get(f"/dev/mail/{path.name}")
    assert "sandbox=" in page.content.decode()
    assert "frame-src 'self'" in page["Content-Security-Policy"]
    framed = client.get(f"/dev/mail/{path.name}?part=html")
    policy = framed["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox allow-popups" in policy
    assert "script-src" not in policy
    assert "allow-scripts" not in policy
    assert "frame-ancestors 'self'" in policy
    assert framed["X-Frame-Options"] == "SAMEORIGIN"
    assert '<base target="_blank">' in framed.content.decode()
    assert client.get("/dev/mail/missing.eml?part=html").status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        "missing.eml",
        "..%2Fsecrets.eml",
        "%2Fetc%2Fpasswd",
        "../secrets.eml",
        "..",
        ".hidden.eml",
        "notes.txt",
        "link.eml",
        "folder.eml",
        "pipe.eml",
        "a%00.eml",
        "%F0%9F%98%80.eml",
    ],
)
def test_only_mail_in_the_folder_is_opened(client: Client, folder: Path, name: str):
    import os

    secret = folder.parent / "secrets.eml"
    secret.write_text("Subject: secret\n\nsecret")
    (folder / ".hidden.eml").write_text("Subject: secret\n\nsecret")
    (folder / "notes.txt").write_text("secret")
    (folder / "link.eml").symlink_to(secret)
    (folder / "folder.eml").mkdir()
    os.mkfifo(folder / "pipe.eml")
    response = client.get(f"/dev/mail/{name}")
    assert response.status_code in (404, 301, 302)
    assert b"Subject: secret" not in response.content
    assert b">secret<" not in response.content
    assert client.get("/dev/mail").status_code == 200


def test_a_damaged_message_is_still_a_page(client: Client, folder: Path):
    (folder / "a.eml").write_bytes(b"\xff\xfe\x00 not mail at all")
    (folder / "b.eml").write_bytes(
        b"Subject: =?utf-8?b?////?=\nDate: yesterday\nContent-Type: text/plain; charset=no-such\n\n\xff"
    )
    (folder / "c.eml").write_bytes(b"")
    assert client.get("/dev/mail").status_code == 200
    for name in ("a.eml", "b.eml", "c.eml"):
        assert client.get(f"/dev/mail/{name}").status_code == 200


def test_it_only_reads(client: Client, folder: Path):
    assert client.post("/dev/mail").status_code == 405
