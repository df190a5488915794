"""Tests: the same engine and code, with throw-away data and mails in memory.

The test run starts its own PostgreSQL and Valkey (tests/conftest.py) and names them in the
environment before Django is set up; tools that only import the settings need neither.
"""

import os

os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "0123456789" * 4)
os.environ.setdefault("DATABASE_URL", "postgresql://postgres@localhost:1/tokenmix")
os.environ.setdefault("REDIS_URL", "redis://localhost:1/0")
os.environ.setdefault("CREDENTIAL_KEYS", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
os.environ.setdefault("STRIPE_SECRET_KEY", "sk_test_sandbox")
os.environ.setdefault("STRIPE_WEBHOOK_SECRETS", "whsec_sandbox_0123456789abcdef")

from tokenmix_site.settings.base import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_AUTOREFRESH = True
ALLOWED_HOSTS = ["*"]
