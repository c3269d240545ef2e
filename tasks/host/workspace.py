"""Where this installation keeps things, decided by the environment and by nothing else.

=======================  ===================================  ==================================
variable                 meaning                              default
=======================  ===================================  ==================================
``SENTINEL_ROOT``        artefacts: a folder or fsspec URL    ``data`` in the working folder
``SENTINEL_STATE``       local servers' databases             the root, if that is a folder
``PREFECT_API_URL``      a Prefect server                     the one of ``sentinel ui``, else a
                                                              temporary one over the same database
``MLFLOW_TRACKING_URI``  an MLflow server or database         the database of the MLflow pages
``SENTINEL_MLFLOW_``     address of the MLflow pages, for     the server of
``PAGES``                links in the Prefect pages           ``MLFLOW_TRACKING_URI``
``MLFLOW_BACKEND_``      database of the MLflow pages         SQLite in the state folder
``STORE_URI``
``PREFECT_API_``         database of the Prefect pages        SQLite in the state folder
``DATABASE_``
``CONNECTION_URL``
``RAY_ADDRESS``          a Ray cluster                        a local one a run
=======================  ===================================  ==================================
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import SentinelError
from tasks.storage.store import Store

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
LOOPBACK = "127.0.0.1"

#: Settings of every run for what servers and machines do: a Prefect server that is restarted, or
#: whose database is (it then answers 500), is waited for up to two minutes; and a run whose
#: heartbeats stay out is known to be lost (:mod:`flows.lost`).
FAULTS = {
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}

# Databases and servers that MLflow takes; a database's driver may follow after a plus sign.
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_TRACKED_BY = ("http", "https", "databricks", "file", *_DATABASES)


@dataclass(frozen=True)
class Workspace:
    """The root of the artefacts and the folder of the local servers' state."""

    root: str
    state: Path

    @classmethod
    def from_environment(cls) -> Workspace:
        """The workspace the environment asks for; nothing is created.

        Raises
        ------
        SentinelError
            If the root's address holds a password, also one that another is chained to, or a query.
        """
        root = os.environ.get("SENTINEL_ROOT", "data")
        if "://" in root and any(map(_holds_secret, root.split("::"))):
            raise SentinelError(
                "SENTINEL_ROOT holds a password or a query, and stands in messages and in Prefect",
                "leave it out, and set it as the store's own variable: AWS_SECRET_ACCESS_KEY for "
                "s3://, or fsspec's, as FSSPEC_FTP_PASSWORD for ftp://",
            )
        local = "://" not in root
        if local:
            root = str(Path(root).resolve())
        state = os.environ.get("SENTINEL_STATE", root if local else "data")
        return cls(root, Path(state).resolve())

    @property
    def store(self) -> Store:
        """The artefact store."""
        return Store(self.root)

    @property
    def tracking_uri(self) -> str:
        """MLflow server, or a database of our own; a kind that MLflow does not know is refused."""
        return _tracked("MLFLOW_TRACKING_URI") or self.backend_uri

    @property
    def backend_uri(self) -> str:
        """Database of the MLflow pages that ``sentinel ui`` serves."""
        named = _tracked("MLFLOW_BACKEND_STORE_URI")
        tracked = _tracked("MLFLOW_TRACKING_URI")
        if not named and "://" in tracked and not tracked.startswith("http"):
            named = tracked
        return named or f"sqlite:///{self.state / 'mlflow.db'}"

    @property
    def artifacts(self) -> str:
        """Folder of MLflow's artifacts, used where no server keeps them."""
        return (self.state / "mlflow").as_uri()

    @property
    def mlflow_page(self) -> str:
        """Address of the MLflow pages, for links that a browser elsewhere can follow."""
        if public := os.environ.get("SENTINEL_MLFLOW_PAGES"):
            return public.rstrip("/")
        uri = self.tracking_uri
        if uri.startswith("http"):
            return uri.rstrip("/")
        return self.pages().get("mlflow", f"http://127.0.0.1:{MLFLOW_PORT}")

    @property
    def pages_file(self) -> Path:
        """Where ``sentinel ui`` notes the addresses of the servers it runs."""
        return self.state / "ui.json"

    def _check_state(self) -> None:
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            if not os.access(self.state, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise SentinelError(
                f"the state folder {self.state} cannot be used: {error.strerror}",
                "set SENTINEL_STATE (or SENTINEL_ROOT, where it lies) to a folder you may write",
            ) from None

    def _keep_to_ourselves(self) -> None:
        """Prefect's folder is this user's alone.

        Prefect reads its records of results by whatever each of them says it was written with, and
        that may be code: who can write there can run code here.
        """
        own = self.state / "prefect"
        try:
            own.mkdir(mode=0o700, exist_ok=True)
            if os.getuid() not in (0, own.stat().st_uid):
                raise SentinelError(
                    f"{own} belongs to another user, who could run code here by what lies in it",
                    "set SENTINEL_STATE to a folder of your own",
                )
            own.chmod(0o700)
        except OSError as error:
            raise SentinelError(
                f"{own} cannot be kept to this user: {error.strerror}",
                "set SENTINEL_STATE to a folder of your own",
            ) from None

    def pages(self) -> dict[str, str]:
        """Addresses of the running pages (``prefect``, ``mlflow``); empty where none run."""
        try:
            noted: dict[str, str] = json.loads(self.pages_file.read_text())
        except (OSError, ValueError):
            return {}
        # A killed `sentinel ui` leaves its note behind. Pages of this host are on loopback: a note
        # that says otherwise is not ours, and passwords are not sent there.
        return {
            name: url
            for name, url in noted.items()
            if urlsplit(url).hostname == LOOPBACK and _answers(url)
        }

    def prepare_environment(self) -> None:
        """Set what Prefect, MLflow and Ray read from the environment; call before importing them.

        What the user has set stays. Usage reports to the makers of these packages are turned off.

        Raises
        ------
        SentinelError
            If the state folder cannot be made or written, or MLflow's address is of a kind that it
            does not know: a run would learn of it at its end.
        """
        _ = self.tracking_uri, self.backend_uri
        self._check_state()
        self._keep_to_ourselves()
        _take_out_passwords()
        defaults = {
            "PREFECT_HOME": str(self.state / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # The temporary server of a run starts on a machine that is busy loading models.
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            # Prefect would keep results in the user's home, wherever its own home is.
            "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(self.state / "prefect" / "storage"),
            # Kept in memory, leases of a server that is stopped would leave their slots taken.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            # How long a job that waits for a slot, or a run that waits for another of its
            # deployment, may be put off; the server's own 30 s leave engines idle.
            "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
            # Results are addresses; read back as JSON they are text, not code to run.
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            # Lines that tasks/ logs through the standard library are shown with the run.
            "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks",
            # Helper threads log too; their lines are printed, and need no warning that no run
            # has them.
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Evaluations of chat traces, for which a server keeps eight more processes.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A task killed for memory is tried again in growing steps of up to a minute, about
            # four minutes in all; Ray by itself would go on for ever.
            "RAY_task_oom_retries": "8",
            "GIT_PYTHON_REFRESH": "quiet",
        } | FAULTS
        # Who serves the API with a password on this machine is its client as well.
        if password := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
            defaults["PREFECT_API_AUTH_STRING"] = password
        if "prefect" in (pages := self.pages()):
            defaults["PREFECT_API_URL"] = f"{pages['prefect']}/api"
        for name, value in defaults.items():
            os.environ.setdefault(name, value)


def _take_out_passwords() -> None:
    """Move what addresses of servers hold of users and passwords into variables of their own.

    Addresses are logged, linked to and named in errors.
    """
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        address = os.environ.get(variable, "")
        parts = urlsplit(address)
        if not address.startswith("http") or parts.username is None:
            continue
        user, password = unquote(parts.username), unquote(parts.password or "")
        os.environ[variable] = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if variable == "PREFECT_API_URL":
            os.environ.setdefault("PREFECT_API_AUTH_STRING", f"{user}:{password}")
        else:
            os.environ.setdefault("MLFLOW_TRACKING_USERNAME", user)
            os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", password)


def _holds_secret(address: str) -> bool:
    """Whether a URL, of those chained in a root, has a password or a query, as signed ones do.

    What follows a colon and is no port is taken for a password that holds a slash.
    """
    _, apart, rest = address.partition("://")
    host = rest.partition("/")[0]
    secret = re.search(r":.*@", host) or re.search(r":\d*[^\d\]]", host.rpartition("]")[2])
    return bool(apart and ("?" in rest or secret))


def _tracked(variable: str) -> str:
    """An address of MLflow's; what is wrong with it is told without its password."""
    address = os.environ.get(variable, "")
    scheme, apart, _ = address.partition("://")
    known = not apart or scheme.partition("+")[0] in _TRACKED_BY
    if not known and not entry_points(group="mlflow.tracking_store", name=scheme):
        raise SentinelError(
            f"{variable} begins with {scheme}://, which MLflow does not know",
            f"give a server (http://, https://) or a database ({', '.join(_DATABASES)}), as "
            "postgresql+psycopg2://USER:PASSWORD@HOST/NAME",
        )
    return address


def _answers(url: str) -> bool:
    """Whether something listens at the address."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1):
            return True
    except OSError:
        return False
