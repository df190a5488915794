"""The database runs the functions that the files say: a changed file needs its migration."""

import re

import pytest
from django.db import connection

from billing.connections import money_connection
from billing.sql_functions import function_names, sources

pytestmark = pytest.mark.django_db


class TestFunctions:
    def test_in_the_database_are_those_of_the_files(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = ANY(%s)", [function_names()])
            installed = {row[0] for row in cursor.fetchall()}

        written = {
            body for text in sources() for body in re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
        }

        assert installed == written
        assert len(written) == len(function_names())


class TestMoneyConnection:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("statement_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "2s"),
            ("synchronous_commit", "on"),
        ],
    )
    def test_is_bounded_and_durable(self, name: str, value: str) -> None:
        with money_connection() as money:
            assert money.execute(f"SHOW {name}").fetchone() == (value,)
            assert money.autocommit
