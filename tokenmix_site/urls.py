"""One line per URL prefix. Apps write full paths; /v1 and /healthz never reach Django (asgi.py)."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    *[
        path("", include(name))
        for name in ("accounts.urls", "billing.urls", "catalog.urls", "gateway.urls")
        if find_spec(name)
    ],
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]
