"""Settings of the tests: the product's own, without what only a running site needs."""

import os

os.environ["AGORAI_ENV_FILE"] = os.devnull  # a developer's .env stays out of the tests
os.environ.setdefault("DEBUG", "true")
os.environ.setdefault("DATABASE_URL", "postgresql:///agorai")
os.environ.setdefault("REDIS_URL", "redis://localhost:6379/0")

from config.settings import *  # noqa: F403
from config.settings import DATABASES, STORAGES

DEBUG = False
DATABASES["default"]["OPTIONS"].pop("pool", None)  # a database in use cannot be cloned or dropped
STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
AUDIT_REFUSES_SECRETS = True
STAFF_REQUIRES_MFA = False  # but for the tests that switch it on
REQUEST_LOG_THREAD = False  # its rows would outlive the test
