"""Stripe's form encoding, and the strictness of its API: what it does not know it refuses."""

import re
from typing import Any
from urllib.parse import parse_qsl

DEEPEST = 6
BRACKET = re.compile(r"\[([^\[\]]*)\]")

# Parameters of POST /v1/checkout/sessions in API 2026-10-28.endive.
SESSION_PARAMS = frozenset(
    {
        "adaptive_pricing",
        "after_expiration",
        "allow_promotion_codes",
        "allowed_payment_method_types",
        "automatic_tax",
        "billing_address_collection",
        "branding_settings",
        "cancel_url",
        "client_reference_id",
        "consent_collection",
        "currency",
        "custom_fields",
        "custom_text",
        "customer",
        "customer_account",
        "customer_creation",
        "customer_email",
        "customer_update",
        "discounts",
        "excluded_payment_method_types",
        "expand",
        "expires_at",
        "integration_identifier",
        "invoice_creation",
        "line_items",
        "locale",
        "managed_payments",
        "metadata",
        "mode",
        "name_collection",
        "optional_items",
        "origin_context",
        "payment_intent_data",
        "payment_method_collection",
        "payment_method_configuration",
        "payment_method_data",
        "payment_method_options",
        "permissions",
        "phone_number_collection",
        "redirect_on_completion",
        "return_url",
        "saved_payment_method_options",
        "setup_intent_data",
        "shipping_address_collection",
        "shipping_options",
        "submit_type",
        "subscription_data",
        "success_url",
        "tax_id_collection",
        "ui_mode",
        "wallet_options",
    }
)
LINE_ITEM_PARAMS = frozenset({"adjustable_quantity", "metadata", "price", "price_data", "quantity"})
LINE_ITEM_PARAMS |= {"dynamic_tax_rates", "tax_rates"}
PRICE_PARAMS = frozenset(
    {"currency", "product", "product_data", "recurring", "tax_behavior", "unit_amount"}
) | {"unit_amount_decimal"}
LARGEST_AMOUNT = 99_999_999
SMALLEST_AMOUNT = 50


class BadParameter(Exception):  # noqa: N818  (named for what is wrong)
    """Stripe would answer 400."""

    def __init__(self, message: str, *, param: str, code: str = "") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def decode_form(text: str) -> dict[str, Any]:
    """Nested values of a[b][0][c]=d. Raises BadParameter."""
    result: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True, max_num_fields=1000):
        names = [key.split("[", 1)[0], *BRACKET.findall(key)]
        if len(names) > DEEPEST:
            raise BadParameter(f"Nested too deep: {key}", param=key)
        place = result
        for name in names[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise BadParameter(f"Invalid object: {key}", param=key)
        place[names[-1] or str(len(place))] = value
    return result


def check_session(params: dict[str, Any]) -> tuple[int, str]:
    """Check the parameters of a session as Stripe does: its amount and currency."""
    if "payment_method_types" in params:
        raise BadParameter(
            "payment_method_types is no longer supported.",
            param="payment_method_types",
            code="payment_method_types_no_longer_supported",
        )
    _check_known(params, SESSION_PARAMS, "")
    if params.get("mode") != "payment":
        raise BadParameter("mode must be payment here.", param="mode")
    _require(params, "success_url", "")
    items = params.get("line_items")
    if not isinstance(items, dict) or not items:
        raise BadParameter("Missing required param: line_items.", param="line_items")
    lines = [_check_line(item, f"line_items[{n}]") for n, item in items.items()]
    total = sum(amount for amount, _ in lines)
    if not SMALLEST_AMOUNT <= total <= LARGEST_AMOUNT:
        raise BadParameter("The amount is too small or too large.", param="line_items")
    return total, lines[0][1]


def _check_line(item: Any, where: str) -> tuple[int, str]:
    if not isinstance(item, dict):
        raise BadParameter("Invalid object", param=where)
    _check_known(item, LINE_ITEM_PARAMS, where)
    price = item.get("price_data")
    if not isinstance(price, dict):
        raise BadParameter(f"Missing required param: {where}[price_data].", param=where)
    _check_known(price, PRICE_PARAMS, f"{where}[price_data]")
    for name in ("currency", "unit_amount", "product_data"):
        _require(price, name, f"{where}[price_data]")
    amount = whole(price["unit_amount"], f"{where}[price_data][unit_amount]")
    return amount * whole(item.get("quantity", "1"), f"{where}[quantity]"), price["currency"]


def whole(text: Any, param: str) -> int:
    """Read a whole number. Raises BadParameter."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,12}", text):
        raise BadParameter(
            f"Invalid integer: {text}", param=param, code="parameter_invalid_integer"
        )
    return int(text)


def _check_known(params: dict[str, Any], known: frozenset[str], where: str) -> None:
    for name in params:
        if name not in known:
            param = f"{where}[{name}]" if where else name
            raise BadParameter(
                f"Received unknown parameter: {param}", param=param, code="parameter_unknown"
            )


def _require(params: dict[str, Any], name: str, where: str) -> None:
    if not params.get(name):
        param = f"{where}[{name}]" if where else name
        raise BadParameter(
            f"Missing required param: {param}.", param=param, code="parameter_missing"
        )
