"""The shape of a key: what can be said of a secret without looking it up."""

import hashlib
import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.api_keys import ALPHABET, _new_secret, has_valid_checksum, hash_key


class TestHasValidChecksum:
    def test_accepts_what_we_make(self):
        assert all(has_valid_checksum(_new_secret()) for _ in range(500))

    def test_refuses_random_strings_of_our_shape(self):
        strangers = (
            "sk-tm-" + "".join(secrets.choice(ALPHABET) for _ in range(49)) for _ in range(5_000)
        )

        assert not any(has_valid_checksum(stranger) for stranger in strangers)

    @given(st.integers(6, 54), st.sampled_from(ALPHABET))
    def test_refuses_one_mistyped_character(self, place, typed):
        secret = _new_secret()
        mistyped = secret[:place] + typed + secret[place + 1 :]

        assert has_valid_checksum(mistyped) == (mistyped == secret)

    @given(st.text(max_size=80))
    def test_never_raises_and_refuses_any_other_text(self, text):
        assert not has_valid_checksum(text)

    @pytest.mark.parametrize("change", [str.upper, lambda s: s[:-1], lambda s: s + "a"])
    def test_refuses_other_spellings(self, change):
        assert not has_valid_checksum(change(_new_secret()))


class TestNewSecret:
    def test_has_the_documented_format(self):
        secret = _new_secret()

        assert secret.startswith("sk-tm-")
        assert len(secret) == 6 + 43 + 6
        assert set(secret[6:]) <= set(string.ascii_letters + string.digits)

    def test_never_repeats(self):
        assert len({_new_secret() for _ in range(1_000)}) == 1_000


class TestHashKey:
    def test_is_the_sha256_of_the_secret(self):
        assert hash_key("sk-tm-fake") == hashlib.sha256(b"sk-tm-fake").digest()
