"""Addresses of the usage pages."""

from django.urls import path

from gateway import views

urlpatterns = [
    path("usage/", views.usage, name="usage"),
    path("usage/<uuid:call_id>/", views.call, name="call"),
]
