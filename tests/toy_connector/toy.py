"""A connector that speaks the protocol and does as a file tells it: records, or one of the ways to go wrong.

Its configuration: `script`, a JSON file with rows by account, and under `fault` what goes wrong after how many records.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def say(kind: str, content: Any) -> None:
    print(json.dumps({"type": kind, {"CONNECTION_STATUS": "connectionStatus"}.get(kind, kind.lower()): content}))
    sys.stdout.flush()


def status(name: str) -> None:
    told = {"stream_descriptor": {"name": "spend"}, "status": name}
    say("TRACE", {"type": "STREAM_STATUS", "emitted_at": 0, "stream_status": told})


def given(name: str) -> Any:
    return json.loads(Path(sys.argv[sys.argv.index(f"--{name}") + 1]).read_text())


def fail(fault: str, config: dict[str, Any]) -> None:
    """Go wrong in one way."""
    if fault == "exit":
        error = {"message": "the service said no", "internal_message": f"GET https://x/?access_token={config['token']}"}
        say("TRACE", {"type": "ERROR", "emitted_at": 0, "error": error})
        sys.exit(3)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hangs":
        # What it started hangs as well, with the same output.
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    if fault == "garbage":
        print(f"Traceback: token {config['token']}")
    if fault == "torn":
        print('{"type": "RECORD", "record": {"stream": "spend", "da')
    if fault == "nan":
        print('{"type": "RECORD", "record": {"stream": "spend", "data": {"id": 1, "day": "2026-11-23", "cost": NaN}}}')
    if fault == "long":
        print('{"type": "RECORD", "record": {"stream": "spend", "data": {"id": "' + "x" * (9 << 20) + '"}}}')
    if fault == "flood":
        for _ in range(2_000):
            print("e" * 10_000, file=sys.stderr)
    if fault == "memory":
        held = [bytearray(1 << 20) for _ in range(2_000)]
        time.sleep(600 if held else 0)
    if fault == "incomplete":
        status("INCOMPLETE")
        sys.exit(0)
    if fault == "silent":
        sys.exit(0)
    if fault == "other":
        say("RECORD", {"stream": "other", "data": {}, "emitted_at": 0})


def read(config: dict[str, Any]) -> None:
    script = json.loads(Path(config["script"]).read_text())
    (configured,) = given("catalog")["streams"]
    (account,) = config["accounts"]
    rows = script["rows"].get(account, [])
    incremental = configured["sync_mode"] == "incremental"
    if "first" in config:
        rows = [row for row in rows if config["first"] <= row["day"] and row["day"] <= config.get("last", "9")]
    if incremental and "--state" in sys.argv:
        begin = given("state")[0]["stream"]["stream_state"]["id"]
        rows = [row for row in rows if row["id"] > begin]
    status("STARTED")
    fault = script.get("faults", {}).get(account)
    for number, row in enumerate(rows):
        if fault and number == fault["after"]:
            fail(fault["how"], config)
        print(f'{{"type":"RECORD","record":{{"stream":"spend","emitted_at":0,"data":{raw(row)}}}}}')
    if "token_next" in script:
        say(
            "CONTROL",
            {"type": "CONNECTOR_CONFIG", "connectorConfig": {"config": {**config, "token": script["token_next"]}}},
        )
    last = max((row["id"] for row in rows), default=None)
    if incremental and last is not None:
        stream = {"stream_descriptor": {"name": "spend"}, "stream_state": {"id": last}}
        say("STATE", {"type": "STREAM", "stream": stream})
    status("COMPLETE")


def raw(row: dict[str, Any]) -> str:
    """Return a row as JSON in which the cost stands as it was written."""
    return json.dumps({**row, "cost": "@"}).replace('"@"', str(row.get("cost", "null")))


def main() -> None:
    command = sys.argv[1]
    if command == "spec":
        say("SPEC", {"connectionSpecification": {"properties": {"token": {"airbyte_secret": True}}}})
        return
    config = given("config")
    if os.environ.keys() & {"WAREHOUSE_URL", "PREFECT_API_URL"}:
        sys.exit("it sees what is not for it")
    with Path(config["script"]).with_name("log").open("a") as log:
        told = {name: config.get(name) for name in ("accounts", "first", "last", "token")}
        log.write(json.dumps({"command": command, "folder": str(Path.cwd()), **told}) + "\n")
    if command == "check":
        script = json.loads(Path(config["script"]).read_text())
        refused = f"not with {config['token']}" if script.get("refused") else ""
        say("CONNECTION_STATUS", {"status": "FAILED" if refused else "SUCCEEDED", "message": refused})
    elif command == "discover":
        fields = {"id": {"type": "integer"}, "day": {"type": "string"}, "cost": {"type": "number"}}
        stream = {
            "name": "spend",
            "json_schema": {"properties": fields},
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_primary_key": [["id"]],
            "default_cursor_field": ["id"],
        }
        say("CATALOG", {"streams": [stream]})
    else:
        read(config)


main()
