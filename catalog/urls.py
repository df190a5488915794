"""Addresses of the public catalog."""

from django.urls import path

from catalog import views

urlpatterns = [
    path("models/", views.models, name="models"),
    path("models/<path:name>/", views.model, name="model"),
]
