"""One line per page or prefix; apps write full paths. /v1 and /healthz do not come here (asgi.py)."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

from tokenmix_site import views

urlpatterns = [
    path("", views.home, name="home"),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("readyz", views.readyz, name="readyz"),
    path("dev/mail/", views.dev_mail, name="dev_mail"),
    path("i18n/", include("django.conf.urls.i18n")),
    *[
        path("", include(name))
        for name in ("accounts.urls", "billing.urls", "catalog.urls", "gateway.urls")
        if find_spec(name)
    ],
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]
