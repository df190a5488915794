#!/usr/bin/env python
"""Django's command line. Beside a running `make run` it uses the same servers and secrets."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        from tokenmix_site.local.environment import load_running

        os.environ["DJANGO_SETTINGS_MODULE"] = "tokenmix_site.settings.dev"
        load_running()
    execute_from_command_line(sys.argv)
