"""The one settings file, safe by default. What an operator may change is in `config.env`; everything else is here."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ

from common import logs
from config import env

BASE_DIR = Path(__file__).resolve().parent.parent
ENV_FILE = BASE_DIR / os.environ.get("AGORAI_ENV_FILE", ".env")
if ENV_FILE.is_file():
    environ.Env.read_env(ENV_FILE)  # the process's own environment wins

values = env.load(os.environ)
VERSION = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (BASE_DIR / "CHANGELOG.md").read_text(), re.MULTILINE)[0]

# --- The site ---------------------------------------------------------------------------------------------------------
DEBUG = values.DEBUG
SECRET_KEY = values.SECRET_KEY
SECRET_KEY_FALLBACKS = values.SECRET_KEY_FALLBACKS
SITE_URL = values.SITE_URL
SITE_NAME = values.SITE_NAME
SITE_HEADLINE = values.SITE_HEADLINE
SITE_INTRO = values.SITE_INTRO
SUPPORT_EMAIL = values.SUPPORT_EMAIL
SITE_HOST = urlsplit(SITE_URL).hostname
IS_HTTPS = SITE_URL.startswith("https://")
ALLOWED_HOSTS = values.ALLOWED_HOSTS or [SITE_HOST, *(["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])]
CSRF_TRUSTED_ORIGINS = [SITE_URL]

KEY_PEPPERS = values.KEY_PEPPERS
KEY_ENCRYPTION_KEYS = values.KEY_ENCRYPTION_KEYS
JWT_SIGNING_KEYS = values.JWT_SIGNING_KEYS
LEAK_REPORT_KEYS = values.LEAK_REPORT_KEYS

CURRENCY = values.CURRENCY
WELCOME_CREDIT = values.WELCOME_CREDIT
PLATFORM_FEE = values.PLATFORM_FEE
DEVELOPER_APPROVAL = values.DEVELOPER_APPROVAL
PUBLISH_APPROVAL = values.PUBLISH_APPROVAL
REVIEW_MIN_CALLS = values.REVIEW_MIN_CALLS
STAFF_REQUIRES_MFA = values.STAFF_REQUIRES_MFA

AUTH_RATE_PER_MINUTE = values.AUTH_RATE_PER_MINUTE
API_RATE_PER_MINUTE = values.API_RATE_PER_MINUTE
ORGANIZATION_RATE_PER_MINUTE = values.ORGANIZATION_RATE_PER_MINUTE or 10 * API_RATE_PER_MINUTE
LIMITS_TABLE = "config.limits.ROUTES"
GATEWAY_UPSTREAM_TIMEOUT_SECONDS = values.GATEWAY_UPSTREAM_TIMEOUT_SECONDS
GATEWAY_CIRCUIT_FAILURES = values.GATEWAY_CIRCUIT_FAILURES
PREDICTIONS_PER_PROCESS = values.PREDICTIONS_PER_PROCESS
PREDICTIONS_RUNNING_PER_ORGANIZATION = values.PREDICTIONS_RUNNING_PER_ORGANIZATION
PREDICTIONS_PER_ORGANIZATION = values.PREDICTIONS_PER_ORGANIZATION
PREDICTION_MAX_SECONDS = values.PREDICTION_MAX_SECONDS
PREDICTION_HOURS = values.PREDICTION_HOURS
GATEWAY_CONCURRENT_CALLS = values.GATEWAY_CONCURRENT_CALLS
GATEWAY_BODY_MEMORY_MIB = values.GATEWAY_BODY_MEMORY_MIB
GATEWAY_DRAINS = values.GATEWAY_DRAINS
LIMITER_PROCESSES = values.LIMITER_PROCESSES
TRUSTED_PROXIES = values.TRUSTED_PROXIES
OUTBOUND_ALLOWED_NETWORKS = values.OUTBOUND_ALLOWED_NETWORKS
OUTBOUND_ALLOW_HTTP = values.OUTBOUND_ALLOW_HTTP
DEV_MAIL_DIR = values.DEV_MAIL_DIR

# --- Apps, from the top down ------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config",
    "analytics",
    "gateway",
    "reviews",
    "media",
    "billing",
    "apikeys",
    "marketplace",
    "accounts",
    "notifications",
    "observability",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "template_partials.apps.SimpleAppConfig",
    "csp",
    "django_elasticsearch_dsl",
    "djstripe",
    "config.site.StaffConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.forms",
]
MIDDLEWARE = [
    "observability.middleware.RequestMiddleware",
    "common.limits.LimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "common.policy.PolicyMiddleware",
    "accounts.middleware.TimeZoneMiddleware",
    "accounts.middleware.SeenMiddleware",
    "accounts.middleware.DeviceMiddleware",
    "accounts.middleware.FormMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "config.urls"
ACCESS_TABLE = "config.access.ACCESS"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
APPEND_SLASH = False
MIGRATION_MODULES = {"djstripe": "config.djstripe_migrations"}  # one step in place of 50 CPU-seconds of history

FORM_RENDERER = "config.forms.FormRenderer"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "template_partials.loader.Loader",
                    [
                        (
                            "django.template.loaders.cached.Loader",
                            [
                                "django.template.loaders.filesystem.Loader",
                                "django.template.loaders.app_directories.Loader",
                            ],
                        )
                    ],
                )
            ],
            "builtins": ["template_partials.templatetags.partials"],  # as in Django 6
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.site",
            ],
        },
    }
]

# --- Databases --------------------------------------------------------------------------------------------------------
DATABASE_URL = values.DATABASE_URL
DATABASE_OWNER_URL = values.DATABASE_OWNER_URL or DATABASE_URL
REDIS_URL = values.REDIS_URL
DATABASES = {"default": env.database(DATABASE_URL)}  # `migrate` connects as the owner instead: config.roles
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if values.DATABASE_POOL_SIZE:
    # A pool, not CONN_MAX_AGE: under ASGI every request has a thread of its own, and would leave its connection there.
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": 0,
        "max_size": values.DATABASE_POOL_SIZE,
        "timeout": 10,
        "reconnect_timeout": 2,  # then the next request tries anew; the pool's own pauses grow to minutes
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"  # of Django's own tables; ours have UUIDs
ELASTICSEARCH_URL = values.ELASTICSEARCH_URL
ELASTICSEARCH_INDEX = values.ELASTICSEARCH_INDEX
# Without an address nothing connects: the library wants one to be named.
ELASTICSEARCH_DSL = {"default": {"hosts": ELASTICSEARCH_URL or "http://localhost:9200"}}
ELASTICSEARCH_DSL_AUTOSYNC = False  # saving a listing never waits for another server; a sweep indexes it
ELASTICSEARCH_DSL_SIGNAL_PROCESSOR = "django_elasticsearch_dsl.signals.BaseSignalProcessor"
CACHES = {
    "default": {
        "BACKEND": "config.cache.FallbackCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "agorai",
        "TIMEOUT": 300,
    }
}
# What people upload. Nothing but `media.views` reads from there: no server may hand it out as it lies.
MEDIA_ROOT = BASE_DIR / values.MEDIA_DIR
MEDIA_QUOTA_MIB = values.MEDIA_QUOTA_MIB
MEDIA_S3_BUCKET = values.MEDIA_S3_BUCKET
MEDIA_S3_ENDPOINT = values.MEDIA_S3_ENDPOINT
_FOLDER: dict[str, Any] = {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {"allow_overwrite": True, "file_permissions_mode": 0o600, "directory_permissions_mode": 0o700},
}
_BUCKET: dict[str, Any] = {
    "BACKEND": "common.bucket.Bucket",
    "OPTIONS": {
        "bucket_name": MEDIA_S3_BUCKET,
        "endpoint_url": MEDIA_S3_ENDPOINT or None,
        "region_name": values.MEDIA_S3_REGION,
        "access_key": values.MEDIA_S3_ACCESS_KEY,
        "secret_key": values.MEDIA_S3_SECRET_KEY,
    },
}
STORAGES = {
    "default": _BUCKET if MEDIA_S3_BUCKET else _FOLDER,
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / values.STATIC_DIR
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_KEEP_ONLY_HASHED_FILES = True  # nobody asks for the others, and compressing them takes as long again
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = ("map", "woff2", "png", "jpg", "webp", "gz", "br")

# --- Mail -------------------------------------------------------------------------------------------------------------
DEFAULT_FROM_EMAIL = values.DEFAULT_FROM_EMAIL or f"{SITE_NAME} <no-reply@{SITE_HOST}>"
SERVER_EMAIL = DEFAULT_FROM_EMAIL
EMAIL_TIMEOUT = 15
globals().update(env.mail(values.EMAIL_URL))

# --- Jobs -------------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.broker(REDIS_URL)

# --- Who may come in --------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["email", "name"]},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

ACCOUNT_ADAPTER = "accounts.authentication.AccountAdapter"
ACCOUNT_FORMS = {  # the services behind them are the API's too
    "login": "accounts.forms.LoginForm",
    "signup": "accounts.forms.SignupForm",
    "confirm_email_verification_code": "accounts.forms.ConfirmEmailVerificationCodeForm",
    "request_login_code": "accounts.forms.RequestLoginCodeForm",
    "confirm_login_code": "accounts.forms.ConfirmLoginCodeForm",
    "change_email": "accounts.forms.ChangeEmailForm",
    "add_email": "accounts.forms.AddEmailForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "set_password": "accounts.forms.SetPasswordForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
}
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "accounts.authentication.ResetTokens"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_MAX_ATTEMPTS = 5
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_LOGIN_BY_CODE_MAX_ATTEMPTS = 5
ACCOUNT_LOGIN_BY_CODE_TIMEOUT = 15 * 60
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if IS_HTTPS else "http"
ACCOUNT_RATE_LIMITS = {  # those that `config.limits` or `accounts.services.guesses` count are off here
    "signup": None,
    "login": None,
    "login_failed": None,
    "reauthenticate": None,
    "change_password": None,
    "manage_email": None,
    "request_login_code": None,
    "reset_password": None,
    "reset_password_from_key": None,
}
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES

# One OpenID Connect provider, where the operator names one. Its name here, which rows and its callback's address carry,
# is made from the issuer: a person of another issuer with the same number is somebody else.
OIDC_ISSUER = values.OIDC_ISSUER
OIDC_ID = re.sub(r"[^a-z0-9.]+", "-", OIDC_ISSUER.partition("://")[2].lower()).strip("-")
SOCIALACCOUNT_ADAPTER = "accounts.authentication.IdentityAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": OIDC_ID,
                "name": values.OIDC_NAME,
                "client_id": values.OIDC_CLIENT_ID,
                "secret": values.OIDC_CLIENT_SECRET,
                "settings": {"server_url": OIDC_ISSUER},
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
MFA_ADAPTER = "accounts.authentication.MFAAdapter"
MFA_FORMS = {
    "authenticate": "accounts.forms.AuthenticateForm",
    "reauthenticate": "accounts.forms.ReauthenticateForm",
    "activate_totp": "accounts.forms.ActivateTOTPForm",
    "add_webauthn": "accounts.forms.AddPasskeyForm",
    "edit_webauthn": "accounts.forms.RenamePasskeyForm",
    "login_webauthn": "accounts.forms.LoginPasskeyForm",
    "authenticate_webauthn": "accounts.forms.AuthenticatePasskeyForm",
    "reauthenticate_webauthn": "accounts.forms.ReauthenticatePasskeyForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RATE_LIMITS = {"webauthn_login": None}  # `config.limits`
MFA_TOTP_ISSUER = SITE_NAME
RATELIMIT_USE_CACHE = "default"
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001"]  # the cache is Django's own Redis backend, whose `incr` is atomic

SESSION_ENGINE = "accounts.services.session_store"
SESSION_COOKIE_AGE = int(timedelta(days=14).total_seconds())
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "__Host-session" if IS_HTTPS else "session"
DEVICE_COOKIE_NAME = "__Host-device" if IS_HTTPS else "device"  # of accounts.services.known_devices
CSRF_COOKIE_NAME = "__Host-csrf" if IS_HTTPS else "csrf"
CSRF_FAILURE_VIEW = "observability.views.csrf_failure"
CSRF_COOKIE_HTTPONLY = True  # forms and htmx carry the token themselves

# --- What browsers are told -------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_SSL_REDIRECT = IS_HTTPS and TRUSTED_PROXIES > 0  # without a proxy nothing here ever sees https
SECURE_REDIRECT_EXEMPT = [r"^(livez|readyz|metrics)$"]
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS

# --- What a request may be --------------------------------------------------------------------------------------------
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 500
DATA_UPLOAD_MAX_NUMBER_FILES = 10
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- The API ----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.JWTAuthentication",
        "apikeys.authentication.APIKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["common.policy.PolicyPermission"],
    # Ours (`common.rest`) are named on our views: DRF's own module reads these two while it is still being imported.
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "common.schema.AutoSchema",
    "EXCEPTION_HANDLER": "common.problems.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "DATETIME_FORMAT": "iso-8601",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": next(iter(JWT_SIGNING_KEYS.values())),
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "AUDIENCE": SITE_URL,
    "ISSUER": SITE_URL,
    "LEEWAY": 5,
    "USER_ID_FIELD": "id",
    "USER_ID_CLAIM": "sub",
    "AUTH_TOKEN_CLASSES": ["rest_framework_simplejwt.tokens.AccessToken"],
    "UPDATE_LAST_LOGIN": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Agorai API",  # the document is the same on every instance, and committed
    "DESCRIPTION": "Find, publish and call AI models. One key, one bill.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": "/"}],
    "SCHEMA_PATH_PREFIX": "/api",
    "COMPONENT_SPLIT_REQUEST": True,
    "GET_LIB_DOC_EXCLUDES": "common.schema.undocumented",
    "ENUM_NAME_OVERRIDES": {
        "PlatformRole": ["consumer", "developer", "staff"],
        "PredictionStatus": "gateway.models.Prediction.Status",
        "DeploymentStatus": "gateway.models.Deployment.Status",
        "FileStatus": "media.models.File.Status",
        "FileKind": "media.models.File.Kind",
        "ReportReason": "reviews.models.Report.Reason",
        "OrganizationRole": ["owner", "admin", "developer", "billing", "member"],
    },
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "common.schema.finish"],
    "SERVE_PERMISSIONS": ["common.policy.PolicyPermission"],
}

# --- Stripe: nothing happens without keys -----------------------------------------------------------------------------
STRIPE_LIVE_SECRET_KEY = values.STRIPE_LIVE_SECRET_KEY
STRIPE_TEST_SECRET_KEY = values.STRIPE_TEST_SECRET_KEY
STRIPE_LIVE_MODE = values.STRIPE_LIVE_MODE
STRIPE_API_VERSION = "2026-05-27.dahlia"
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"

# --- Words, time and logs ---------------------------------------------------------------------------------------------
LANGUAGE_CODE = values.LANGUAGE_CODE
LANGUAGES = [("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["config.formats"]
TIME_ZONE = values.TIME_ZONE
USE_I18N = USE_TZ = True

LOG_FORMAT = values.LOG_FORMAT
LOG_LEVEL = values.LOG_LEVEL
REQUEST_LOG_DAYS = values.REQUEST_LOG_DAYS
REQUEST_LOG_THREAD = True  # writes the rows that requests leave behind
AUDIT_ANCHOR_FILE = BASE_DIR / values.AUDIT_ANCHOR_FILE if values.AUDIT_ANCHOR_FILE else None
AUDIT_REFUSES_SECRETS = False  # they are masked, and the mask is logged as an error
LOGGING = logs.config(LOG_FORMAT, LOG_LEVEL)
logs.configure()
