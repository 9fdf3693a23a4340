# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings from the environment, missing values treated as Phase Console treats them (v2.73.2).

ALLOWED_HOSTS or ALLOWED_ORIGINS missing: the import fails. DATABASE_* missing: the first connection fails. SECRET_KEY
or SERVER_SECRET missing: nothing is checked.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from backend.release import VERSION, since
from backend.secrets import secret

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = os.environ.get("DEBUG") == "True"
SECRET_KEY = secret("SECRET_KEY")
SERVER_SECRET = secret("SERVER_SECRET")
PHASE_VERSION = VERSION

ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
CSRF_TRUSTED_ORIGINS = os.environ["ALLOWED_ORIGINS"].split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.sites",
    "account",
    "socialaccount",
    "authtoken",
    "api.apps.ApiConfig",
    "logs",
    "django_rq",
]
AUTH_USER_MODEL = "api.CustomUser"
# Phase's, since it takes passwords (v2.67.0): a hash of another algorithm counts for nothing.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
SITE_ID = 1
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "backend.urls"
WSGI_APPLICATION = "backend.wsgi.application"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_AGE = 604800
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
SILENCED_SYSTEM_CHECKS = [
    "admin.E403",
    "admin.E408",
    "admin.E409",
    "admin.E410",
]  # the admin is only there for its tables

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"": {"level": "INFO", "handlers": ["console"]}},
}

MIDDLEWARE = [
    *(["backend.middleware.HealthCheckMiddleware"] if since("v2.68.0") else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


def tls() -> dict[str, str]:
    """DATABASE_SSL=true asks for TLS; a CA file makes it check the server's name and certificate too."""
    if os.environ.get("DATABASE_SSL", "").lower() != "true":
        return {}
    authority = os.environ.get("DATABASE_SSL_CA_PATH")
    return {"sslmode": "verify-full", "sslrootcert": authority} if authority else {"sslmode": "require"}


DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("DATABASE_HOST"),
        "PORT": int(os.environ.get("DATABASE_PORT", "5432")),
        "NAME": os.environ.get("DATABASE_NAME", ""),  # None would be the database "postgres"
        "USER": os.environ.get("DATABASE_USER"),
        "PASSWORD": secret("DATABASE_PASSWORD"),
        "OPTIONS": tls(),
    }
}

REDIS_HOST = os.environ.get("REDIS_HOST")
REDIS_PORT = int(os.environ.get("REDIS_PORT", "6379"))
REDIS_PASSWORD = secret("REDIS_PASSWORD")
REDIS_LOGIN = f":{quote(REDIS_PASSWORD, safe='')}@" if REDIS_PASSWORD else ""
REDIS_URL = f"redis://{REDIS_LOGIN}{REDIS_HOST}:{REDIS_PORT}"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

ENABLE_PASSWORD_AUTH = os.environ.get("ENABLE_PASSWORD_AUTH", "").lower() in ("true", "1", "yes")
EMAIL_DOMAINS = [
    domain.strip().lower() for domain in os.environ.get("USER_EMAIL_DOMAIN_WHITELIST", "").split(",") if domain.strip()
]
SOCIALACCOUNT_PROVIDERS = {"github": {"APP": {"client_id": os.environ.get("GITHUB_CLIENT_ID", "")}}}
