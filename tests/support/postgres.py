"""A PostgreSQL of our own for one test module or benchmark: its own folder and socket, no network."""

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


class PostgreSQL:
    """`with PostgreSQL() as server: url = server.new_database()`"""

    @staticmethod
    def is_there() -> bool:
        return bool(_PROGRAMS)

    def __enter__(self) -> "PostgreSQL":
        self._folder = Path(tempfile.mkdtemp())  # a socket's path must be short
        self._prefix = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self._folder, "postgres")
            self._prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run("initdb", "-U", "vitrine", "--auth=trust", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}'"
        self._run("pg_ctl", "-w", "-o", options, "start")
        self._numbers = itertools.count()
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        name = f"vitrine_{next(self._numbers)}"
        with psycopg.connect(host=str(self._folder), user="vitrine", dbname="postgres", autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://vitrine@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, _PROGRAMS[-1].with_name(program), "-D", self._folder / "data", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
