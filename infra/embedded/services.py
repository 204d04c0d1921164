"""The embedded servers as one: which of them are needed, started together, and put into the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from infra.embedded import channels, mongodb, postgres, prefect
from infra.embedded.process import Progress, Status, silent

# The variable that names a server of the user's own; where it is set, the embedded one stays out of the way.
VARIABLES = {
    "postgres": "WAREHOUSE_URL",
    "mongodb": "MONGODB_URI",
    "channels": "SAMPLE_CHANNELS_URL",
    "prefect": "PREFECT_API_URL",
}


def up(
    home: Path, progress: Progress = silent, *, only: frozenset[str] = frozenset(VARIABLES), worker: bool = True
) -> None:
    """Start the servers that are not configured elsewhere, Prefect first since it takes longest.

    Args:
        home: Folder of everything embedded.
        progress: Told each step.
        only: Names of the servers to consider.
        worker: Also keep a Prefect worker, which runs what was deployed.

    Raises:
        EmbeddedError: A server does not come up.
    """
    wanted = {name for name in only if not configured(name, home)}
    if not started_before(home, "channels"):
        # Fakes are of use to the sample alone: the demo starts them first.
        wanted.discard("channels")
    if "prefect" in wanted:
        prefect.begin(home, progress)
    with ThreadPoolExecutor(3) as pool:
        starting = [
            pool.submit(server.up, home, progress)
            for name, server in (("postgres", postgres), ("mongodb", mongodb), ("channels", channels))
            if name in wanted
        ]
    for started in starting:
        started.result()
    use(home)
    if "prefect" in wanted:
        prefect.up(home, progress, worker=worker)
        use(home)


@contextmanager
def prefect_for_a_run(home: Path, progress: Progress = silent, *, keep: bool = False) -> Iterator[None]:
    """Have a Prefect server for the time of a run: the user's own, or the embedded one, which `up` waits for.

    Its address is in the environment from the start, so that Prefect may be imported while the server comes up.
    """
    if configured("prefect", home):
        yield
        return
    with prefect.lent(home, progress, keep=keep):
        use(home)
        yield


def abandon(home: Path) -> None:
    """Stop the embedded Prefect server, as this process ends at once, if only runs want it and no other uses it."""
    if not configured("prefect", home):
        prefect.abandon(home)


def down(home: Path, *, wipe: bool = False) -> list[str]:
    """Stop what runs, in the order that lets each end cleanly; return the names of what was stopped."""
    servers = {"prefect": prefect, "channels": channels, "mongodb": mongodb, "postgres": postgres}
    return [name for name, server in servers.items() if server.down(home, wipe=wipe)]


def statuses(home: Path) -> list[Status]:
    """Return the state of each embedded server; that of the channels once a demo has started them."""
    of_demo = [channels.status(home)] if started_before(home, "channels") else []
    return [postgres.status(home), mongodb.status(home), *of_demo, prefect.status(home), prefect.worker_status(home)]


def configured(name: str, home: Path) -> str:
    """Return where the server is set to one of the user's own (a variable's or a file's name), else "".

    A variable that `use` has set to the embedded server does not count.
    """
    variable = VARIABLES[name]
    value = os.environ.get(variable, "")
    if value:
        servers = {"postgres": postgres, "mongodb": mongodb, "channels": channels, "prefect": prefect}
        embedded = servers[name].url(home) if started_before(home, name) else ""
        return "" if value == embedded else variable
    return _profile_with_api_url() if name == "prefect" else ""


def use(home: Path) -> None:
    """Point this process and its children at the embedded servers that run, where nothing else is configured.

    The warehouse's own URL is left out: settings resolve it, and it holds a password.
    """
    if not configured("mongodb", home) and mongodb.status(home).running:
        os.environ["MONGODB_URI"] = mongodb.url(home)
    if not configured("channels", home) and channels.status(home).running:
        os.environ["SAMPLE_CHANNELS_URL"] = channels.url(home)
    if not configured("prefect", home) and prefect.status(home).running:
        os.environ["PREFECT_API_URL"] = prefect.url(home)
        # Without this Prefect would keep results and logs of embedded runs in the user's home.
        os.environ.setdefault("PREFECT_HOME", str((home / "prefect").resolve()))
        # Without this each of Prefect's clients asks the server for a token that it does not use.
        os.environ.setdefault("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false")
        # Without this Prefect would tell its makers of the first run on a terminal, in the midst of our progress.
        os.environ.setdefault("DO_NOT_TRACK", "1")


def foreseen(home: Path) -> dict[str, str]:
    """Return the environment to read configuration in before servers run: with the addresses of embedded sources."""
    found = dict(os.environ)
    for name, server in (("mongodb", mongodb), ("channels", channels)):
        if not configured(name, home) and started_before(home, name):
            found[VARIABLES[name]] = server.url(home)
    return found


def prefect_is_known(home: Path) -> bool:
    """Return whether Prefect, imported now, would use a server that is meant; else it starts one of its own."""
    return bool(os.environ.get("PREFECT_API_URL") or configured("prefect", home))


def started_before(home: Path, name: str) -> bool:
    """Return whether the embedded server has data here from an earlier start."""
    return (home / name / "server.json").exists()


def _profile_with_api_url() -> str:
    """Return the Prefect profile file whose active profile names a server, else "".

    Read here because asking Prefect itself costs an import of several seconds.
    """
    folder = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    path = Path(os.environ.get("PREFECT_PROFILES_PATH", folder / "profiles.toml"))
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return ""
    active = os.environ.get("PREFECT_PROFILE", content.get("active", ""))
    profile = content.get("profiles", {}).get(active, {})
    return str(path) if profile.get("PREFECT_API_URL") else ""
