"""Addresses of the wallet and of the payment providers' notices."""

from django.urls import path

from billing import views, webhooks

urlpatterns = [
    path("wallet/", views.wallet, name="wallet"),
    path("wallet/top-up/", views.start_top_up, name="start_top_up"),
    path("wallet/top-up/<uuid:public_id>/", views.top_up, name="top_up"),
    path("wallet/top-up/<uuid:public_id>/cancel/", views.cancel_top_up, name="cancel_top_up"),
    path("billing/hooks/<slug:provider>/", webhooks.receive, name="payment_hook"),
]
