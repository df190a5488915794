"""The public pages of the catalog: the list of models, and one page for each."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from catalog import samples
from catalog.listing import Choice, NoSuchModel, model_page, model_rows, providers
from catalog.templatetags.catalog import CATEGORIES

LONGEST_SEARCH = 100


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    """The list; htmx gets the table alone."""
    search = _asked(request, "q")[:LONGEST_SEARCH]
    provider, category = _asked(request, "provider"), _asked(request, "category")
    rows = model_rows(at=timezone.now(), search=search, provider=provider, category=category)
    context = {
        "rows": rows,
        "search": search,
        "provider": provider,
        "category": category,
        "providers": providers(),
        "categories": _categories(),
        "is_filtered": bool(search or provider or category),
        "callable_count": sum(not row.not_callable_because for row in rows),
    }
    is_part = "HX-Request" in request.headers
    return render(request, "catalog/_models.html" if is_part else "catalog/models.html", context)


@require_safe
def model(request: HttpRequest, name: str) -> HttpResponse:
    """One model under its slug; its other names lead there."""
    try:
        page = model_page(name=_clean(name), at=timezone.now())
    except NoSuchModel as error:
        raise Http404(_("There is no model of this name.")) from error
    row = page.row
    if row.slug != name:
        return redirect("model", name=row.slug)
    is_shown = row.category == "chat" and not row.not_callable_because
    code = samples.chat(model=row.slug, base_url=f"{settings.BASE_URL}/v1") if is_shown else ()
    return render(request, "catalog/model.html", {"page": page, "row": row, "samples": code})


def _asked(request: HttpRequest, field: str) -> str:
    return _clean(request.GET.get(field, "").strip())


def _clean(text: str) -> str:
    """PostgreSQL's text has no NUL."""
    return text.replace("\x00", "")


def _categories() -> tuple[Choice, ...]:
    return tuple(Choice(value, str(label)) for value, label in CATEGORIES.items())
