"""One line per page or prefix; apps write full paths. What is /v1 does not come here (asgi.py)."""

from django.contrib import admin
from django.urls import include, path

from tokenmix_site import views
from tokenmix_site.going_live_views import going_live

urlpatterns = [
    path("", views.home, name="home"),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("readyz", views.readyz, name="readyz"),
    path("dev/mail/", views.dev_mail, name="dev_mail"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("catalog.urls")),
    path("", include("gateway.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/going-live/", going_live, name="going_live"),
    path("admin/", admin.site.urls),
]
