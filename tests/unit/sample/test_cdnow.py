"""CDNOW documents against the file itself, read here by other means."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from infra.sample import cdnow


def test_documents_hold_every_line_of_the_file() -> None:
    text = cdnow.master_file().read_text(encoding="ascii")
    lines = [tuple(line.split()) for line in text.splitlines()[1:]]
    documents = list(cdnow.documents())
    flat = [
        (f"{d['_id']:05d}", f"{p['date']:%Y%m%d}", str(p["units"]), str(p["amount"]))
        for d in documents
        for p in d["purchases"]
    ]
    assert flat == lines
    assert len(lines) == 69_659
    assert len(documents) == len({d["_id"] for d in documents}) == 23_570
    assert sum(n - 1 for n in Counter(lines).values()) == 255
    assert sum(Decimal(line[3]) == 0 for line in lines) == 80
