"""The schema of Prefect's own database as one SQL file, so that a first start does not run a hundred migrations.

`python -m infra.embedded.prefect_schema` writes `prefect_schema.sql` anew with the installed Prefect. A later Prefect
migrates what the file makes, so the file may be old; an earlier one does not know it, and migrates from nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

FILE = Path(__file__).with_suffix(".sql")
_HEADER = "-- Prefect {}: python -m infra.embedded.prefect_schema"


def create(database: Path) -> bool:
    """Make the database from the file, whole or not at all.

    Args:
        database: The SQLite file, which does not exist yet.

    Returns:
        Whether it was made; not when the installed Prefect is older than the file, and would not know its revision.
    """
    script = FILE.read_text(encoding="utf-8")
    made_by = re.search(r"Prefect ([\d.]+)", script)
    if made_by is None or _numbers(version("prefect")) < _numbers(made_by[1]):
        return False
    unfinished = database.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.executescript(f"begin;\n{script}\ncommit;")
    unfinished.replace(database)
    return True


def dump(database: Path) -> str:
    """Return the SQL that makes a database like this one, without its rows but for the revision it is at."""
    with closing(sqlite3.connect(database)) as connection:
        made = connection.execute(
            "select sql from sqlite_master where sql is not null and name not like 'sqlite_%' "
            "order by type = 'table' desc, name"
        ).fetchall()
        ((revision,),) = connection.execute("select version_num from alembic_version").fetchall()
    # Statements are kept as they are, but for spaces at the ends of lines.
    statements = [re.sub(r"[ \t]+$", "", sql, flags=re.MULTILINE) for (sql,) in made]
    statements.append(f"INSERT INTO alembic_version VALUES ('{revision}')")  # noqa: S608 - the revision is a hex number
    return "\n".join((_HEADER.format(version("prefect")), *(f"{sql};" for sql in statements), ""))


def migrate(database: Path) -> None:
    """Make the database by Prefect's own migrations; for a process of its own, as Prefect reads its settings once."""
    os.environ["PREFECT_HOME"] = str(database.parent)
    os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{database}"
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())


def main() -> None:
    """Write the file, or the one whose path is given."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "prefect.db"
        migrate(database)
        Path(sys.argv[1] if sys.argv[1:] else FILE).write_text(dump(database), encoding="utf-8")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


if __name__ == "__main__":
    main()
