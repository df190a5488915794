"""Installs the functions of billing/sql. A change of theirs needs a migration like this one."""

from django.db import migrations

from billing.sql_functions import install_functions, remove_functions


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]

    operations = [migrations.RunPython(install_functions, remove_functions)]
