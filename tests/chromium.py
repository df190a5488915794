"""Finds the browser for the tests, or installs it: `python -m tests.chromium`.

Without a browser the tests fail; they are never skipped in silence.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = (
    ("apt-get", "update", "-qq"),
    ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-noto-cjk"),
)
MISSING = (
    "The browser tests need Chromium: none of " + ", ".join(NAMES) + " is on the PATH.\n"
    "Install one (Debian: apt-get install chromium fonts-noto-cjk), or run `make test` as root\n"
    "on a system with apt-get, which installs it by itself."
)


def find() -> str | None:
    """The path of the first browser of NAMES, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> int:
    if find() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in INSTALL:
            print("Installing the browser for the tests:", *command, flush=True)
            subprocess.run(command, env=quiet, stdin=subprocess.DEVNULL, check=False)
    if find() is None:
        print(MISSING, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
