"""Write the hash list of the decoder's wheels in a folder, in the form in which `pip` and `uv` check it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

NAME = "native.lock"


def lock(folder: Path) -> Path:
    """Write `native.lock` beside the wheels: one version, and the SHA-256 of each of its wheels.

    Args:
        folder: Where the wheels of all platforms are.

    Raises:
        ValueError: There is none, or they are of several versions.
    """
    wheels = sorted(folder.glob("warehouse_native-*.whl"))
    versions = {wheel.name.split("-")[1] for wheel in wheels}
    if len(versions) != 1:
        raise ValueError(f"{folder} holds wheels of {len(versions)} versions of the decoder, not of one")
    hashes = (f"    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}" for wheel in wheels)
    written = folder / NAME
    written.write_text(" \\\n".join([f"warehouse-native=={versions.pop()}", *hashes]) + "\n")
    return written


if __name__ == "__main__":
    try:
        print(f"written: {lock(Path(sys.argv[1]))}")
    except ValueError as error:
        sys.exit(f"error: {error}\nto do: remove the older wheels, or build one with `make wheels`")
