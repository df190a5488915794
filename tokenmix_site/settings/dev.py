"""`make run`: mails are files that the developer can read, everything else as in production."""

from tokenmix_site.settings.base import *

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
