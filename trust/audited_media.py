"""What publishers and staff do with uploaded files, each once, as T42 wants to see it recorded."""

from __future__ import annotations

from common import files
from common.ids import decode
from media import services
from media.models import File
from trust import world
from trust.audited import Deeds, Trace
from trust.audited_api import DRAFT
from trust.audited_staff import Desk

TEXT = b"an example"


def walk(deeds: Deeds) -> None:
    publisher = deeds.person(platform_role="developer")
    draft = publisher.api("POST", "/api/models", DRAFT).json["id"]
    body = {"kind": "example", "model": draft, "name": "a.txt", "media_type": "text/plain", "size": len(TEXT)}
    made = publisher.api("POST", "/api/files", body).json["id"]
    file = File.objects.get(pk=decode("fil", made))
    files.write(file.quarantine, TEXT)
    deeds.api(publisher, "POST", "api:file-complete", file.pk, act="model.file_added", says="after")
    deeds.api(publisher, "DELETE", "api:file", file.pk, act="model.file_removed", says="before")
    removed = Trace("model.file_removed", "before", publisher.user)
    file = world.make_file(publisher.user.personal_organization, file.ai_model)
    deeds.press(publisher.browser, "publish-media", file.ai_model_id, leaves=removed, act="remove", file=file.public_id)
    file = world.make_file(publisher.user.personal_organization, None)
    deeds.press(publisher.browser, "publish-logo", leaves=removed, act="remove", file=file.public_id)
    file = world.make_file(publisher.user.personal_organization, None)
    Desk(deeds).take(file, "take_away", act="model.file_removed", says="before")
    services.sweep_files()
