"""The catalog's number: raised in the transaction of every change, under a lock.

Edits so commit in the order of their numbers, and a reader that has seen a number has seen every
change up to it.
"""

from django.db.models import F

from accounts.changes import ChangeKind, record_change
from catalog.models import CatalogNumber

ROW = 1


def catalog_changed() -> None:
    """Raise the number and tell gateway processes, inside the caller's transaction."""
    if not CatalogNumber.objects.filter(pk=ROW).update(number=F("number") + 1):
        CatalogNumber.objects.create(pk=ROW, number=1)
    record_change(kind=ChangeKind.CATALOG, subject_id=0)


def newest_number() -> int:
    """0 before the first change."""
    return CatalogNumber.objects.filter(pk=ROW).values_list("number", flat=True).first() or 0
