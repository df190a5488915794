"""Production's settings, with the collected files in a folder of the test's."""

import os
from pathlib import Path

from tokenmix_site.settings.production import *  # noqa: F403

STATIC_ROOT = Path(os.environ["TEST_STATIC_ROOT"])
