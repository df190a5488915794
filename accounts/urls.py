"""Pages of accounts. Sign-up, login and the rest of /accounts/ are allauth's."""

from django.urls import path

from accounts import views

urlpatterns = [
    path("keys/", views.keys, name="keys"),
    path("keys/new/", views.new_key, name="key_new"),
    path("keys/<int:key_id>/revoke/", views.revoke, name="key_revoke"),
]
