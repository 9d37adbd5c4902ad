"""Mail into a folder."""

import email
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import time_machine
from django.conf import LazySettings
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection

from common.ids import decode
from notifications import services
from notifications.adapters.filemail import file_name
from notifications.tests.factories import make_message


@pytest.fixture
def folder(tmp_path: Path, settings: LazySettings) -> Path:
    settings.EMAIL_BACKEND = "notifications.adapters.filemail.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail box")
    return tmp_path / "mail box"


def test_one_private_file_for_each_message_in_order(folder: Path):
    for number in range(3):
        EmailMessage(f"Number {number}", "Hello", to=["anna@example.org"]).send()
    paths = sorted(folder.iterdir())
    subjects = [email.message_from_bytes(path.read_bytes())["Subject"] for path in paths]
    assert subjects == ["Number 0", "Number 1", "Number 2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{32}\.eml", path.name) for path in paths)


def test_a_code_stands_alone_on_its_line(folder: Path):
    sentence = "Füge den Code ein: " + "sehr " * 60 + "bald."
    message = EmailMultiAlternatives("Code", f"{sentence}\n\nK7RT2M\n\nEnde\n", to=["anna@example.org"])
    message.attach_alternative("<p>K7RT2M</p>", "text/html")
    message.send()
    (path,) = folder.iterdir()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines.count("K7RT2M") == 1
    assert sentence in lines
    found = subprocess.run(["grep", "-xE", "[A-Z0-9]{6,8}", path], capture_output=True, text=True, check=True)
    assert found.stdout == "K7RT2M\n"


@pytest.mark.django_db
def test_a_repeated_delivery_is_one_file(folder: Path):
    message = make_message()
    assert services.deliver() == 1
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 1
    assert decode("msg", message.public_id).hex in next(iter(before))
    type(message).objects.update(
        state="pending", payload=message.payload, sent_at=None, next_attempt_at=message.created_at
    )
    assert services.deliver() == 1
    assert [path.name for path in folder.iterdir()] == list(before)


@time_machine.travel("2026-01-31T23:59:59.123Z", tick=False)
def test_a_name_tells_the_time():
    assert file_name("<12345@example.org>").startswith("20260131T235959.123Z-")


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path):
    folder.parent.joinpath("mail box").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="mail box"):
        EmailMessage("Hello", "Hello", to=["anna@example.org"]).send()
    assert (
        EmailMessage("Hello", "Hello", to=["a@example.org"], connection=get_connection(fail_silently=True)).send() == 0
    )


def test_nobody_to_write_to(folder: Path):
    assert EmailMessage("Hello", "Hello").send() == 0
    assert not folder.exists()


def test_no_draft_is_ever_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[list[str]] = []
    replace = Path.replace

    def look_and_replace(draft: Path, path: Path) -> Path:
        seen.append(os.listdir(folder))
        return replace(draft, path)

    monkeypatch.setattr(Path, "replace", look_and_replace)
    EmailMessage("Hello", "Hello", to=["anna@example.org"]).send()
    assert seen == [[]]
    assert [path.suffix for path in folder.iterdir()] == [".eml"]
    assert list(folder.parent.iterdir()) == [folder]
