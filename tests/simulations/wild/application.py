"""An application that never stands still: its documents change every day, and so does their shape, both by a seed."""

from __future__ import annotations

import copy
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Binary, Int64, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.database import Database

Document = dict[str, Any]
Path = tuple[str, ...]

START = datetime(2026, 1, 1, tzinfo=UTC)
CODEC: CodecOptions[Document] = CodecOptions(uuid_representation=4, datetime_conversion=DatetimeConversion.DATETIME_MS)
"""As documents are written and read back: far dates, and binaries of each subtype as themselves."""
WORDS = ("red", "green", "blue", "heavy", "light", "old", "new", "Größe L", "東京", "it's", 'a "b"', "x;y\nz")
# Values that are easily lost, by the kind of field that they turn up in.
ODD: dict[str, tuple[Any, ...]] = {
    "int": (0, -1, 2**31, 2**53 + 1, Int64(2**63 - 1), Int64(-(2**63))),
    "double": (float("nan"), float("inf"), -0.0, 1e300, 5e-324, 5.0, 1e22, 0.1 + 0.2),
    "decimal": tuple(map(Decimal128, ("1E+3", "NaN", "-0", "1.20", "0.000000000000000000001", "9" * 34, "-Infinity"))),
    "text": ("", "a\x00b", "NaN", "0005", " 7 ", "null", "x" * 3_000, '{"$oid": 1}', "\\N", "12.50", "1e400"),
    "date": tuple(map(DatetimeMS, (-1, -62_135_596_800_000, 253_402_300_799_999, 0))),
    "array": ([], [None], ["a\x00b"], [[]], [{}], [1.0, 1, Decimal128("1.0")], [2**53 + 1]),
    "nested": ({}, {"deep": {"deep": {}}}, {"a": None}),
}
SCALARS = ("int", "double", "decimal", "text", "bool", "date", "objectid", "uuid", "binary", "enum", "rare")
COLLECTIONS = {"orders": "cdc", "customers": "incremental", "products": "full"}


@dataclass
class Field:
    """A field as documents have it that are written today.

    Attributes:
        path: Its keys.
        kind: What its values are.
        share: Share of the documents that have it.
        null: Whether it is null where it is.
        factor: The unit of its numbers.
    """

    path: Path
    kind: str
    share: float = 1.0
    null: bool = False
    factor: int = 1

    @property
    def name(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Release:
    """One change of shape.

    Attributes:
        day: On which day.
        kind: Of which kind, such as `renamed`.
        path: Of which field, as it was before.
        to: What it is now called, where it was moved.
        said: What else is to be said.
        migrated: Whether all documents were changed, not only those that are written from then on.
        documents: How many documents had the field and were changed at once.
    """

    day: int
    collection: str
    kind: str
    path: str
    to: str = ""
    said: str = ""
    migrated: bool = False
    documents: int = 0


def put(document: Document, path: Path, value: Any) -> None:
    """Set a value by its keys; what is no document on the way is replaced."""
    for key in path[:-1]:
        if not isinstance(document.get(key), dict):
            document[key] = {}
        document = document[key]
    document[path[-1]] = value


def take(document: Document, path: Path) -> Any:
    """Remove a value by its keys and return it; None where it is not."""
    for key in path[:-1]:
        document = document.get(key, {})
        if not isinstance(document, dict):
            return None
    return document.pop(path[-1], None)


def look(document: Document, path: Path) -> Any:
    """Return a value by its keys; None where it is not."""
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


@dataclass
class Collection:
    """One collection: its documents of today are in the database, how they look is here."""

    name: str
    fields: list[Field]
    words: list[str] = field(default_factory=lambda: ["new", "paid", "shipped"])
    ids: str = "int"
    gone: list[Field] = field(default_factory=list)
    written: int = 0


class Application:
    """A few collections and what happens to them.

    Args:
        database: Where they live.
        seed: Everything follows from it.
        names: Which of `COLLECTIONS` there are.
    """

    def __init__(self, database: Database[Document], seed: int, names: tuple[str, ...] = tuple(COLLECTIONS)) -> None:
        self.random = random.Random(seed)
        self.database, self.day = database, 0
        self.clock = START
        self.releases: list[Release] = []
        self.changes = 0
        self.documents: dict[str, dict[Any, Document]] = {name: {} for name in names}
        self._writes: dict[str, list[Any]] = {name: [] for name in names}
        self.collections = {name: Collection(name, self._first_fields()) for name in names}
        for collection in self.collections.values():
            for _ in range(self.random.randint(30, 50)):
                self._insert(collection)
        self._flush()

    def _first_fields(self) -> list[Field]:
        return [
            Field(("total",), "decimal" if self.random.random() < 0.3 else "int"),
            Field(("status",), "enum"),
            Field(("note",), "text", 0.7),
            Field(("placed_at",), "date"),
            Field(("address", "city"), "text", 0.9),
            Field(("address", "zip"), "text", 0.9),
            Field(("tags",), "array", 0.8),
            Field(("items",), "items", 0.9),
            Field(("weight",), "double", 0.6),
            Field(("test",), "bool"),
        ]

    def snapshot(self) -> dict[str, dict[Any, Document]]:
        """Return what the server has of each collection, by key."""
        return {name: {key_of(one): one for one in self._of(name).find()} for name in self.collections}

    def _of(self, name: str) -> Any:
        return self.database.get_collection(name, codec_options=CODEC)

    def _flush(self) -> None:
        """Send what was written so far, in its order."""
        for name, writes in self._writes.items():
            if writes:
                self._of(name).bulk_write(writes)
                writes.clear()

    # -- a day

    def live_a_day(self) -> list[Release]:
        """Write, change and delete documents, and now and then release another version; return the releases."""
        self.day += 1
        self.clock = START + timedelta(days=self.day)
        before = len(self.releases)
        for collection in self.collections.values():
            for _ in range(self.random.choice((0, 1, 1, 2, 2))):
                self._release(collection)
            self.live(collection, 1.0)
        self._flush()
        return self.releases[before:]

    def live(self, collection: Collection, much: float) -> None:
        """Change documents as people do."""
        choose = self.random
        for _ in range(round(much * choose.randint(2, 8))):
            self._insert(collection)
        for key in self._some(collection, round(much * choose.randint(0, 10))):
            self._update(collection, key, late=choose.random() < 0.2)
        for key in self._some(collection, round(much * choose.choice((0, 0, 1, 3)))):
            self._delete(collection, key)

    def live_on(self) -> None:
        """Change a little more, as happens between a run that was killed and the next."""
        for collection in self.collections.values():
            self.live(collection, 0.3)
        self._flush()

    def _some(self, collection: Collection, most: int) -> list[Any]:
        keys = list(self.documents[collection.name])
        return self.random.sample(keys, min(most, len(keys)))

    # -- documents

    def _moment(self, late: bool = False) -> datetime:
        self.clock += timedelta(seconds=1)
        # The table's lag is ten minutes.
        return self.clock - timedelta(seconds=self.random.randint(1, 500)) if late else self.clock

    def _insert(self, collection: Collection) -> None:
        key = self._new_id(collection)
        document = {"_id": key, **self._written(collection), "updated_at": self._moment()}
        self.documents[collection.name][key_of(document)] = document
        self._writes[collection.name].append(InsertOne(document))
        self.changes += 1

    def _update(self, collection: Collection, key: Any, late: bool) -> None:
        document = self.documents[collection.name][key]
        if self.random.random() < 0.5:
            new = {"_id": document["_id"], **self._written(collection)}
        else:
            new = copy.deepcopy(document)
            for one in self.random.sample(collection.fields, min(2, len(collection.fields))):
                self._write(collection, new, one)
        self._replace(collection, key, {**new, "updated_at": self._moment(late)})

    def _replace(self, collection: Collection, key: Any, document: Document) -> None:
        self.documents[collection.name][key] = document
        self._writes[collection.name].append(ReplaceOne({"_id": document["_id"]}, document))
        self.changes += 1

    def _delete(self, collection: Collection, key: Any) -> None:
        document = self.documents[collection.name].pop(key)
        self._writes[collection.name].append(DeleteOne({"_id": document["_id"]}))
        self.changes += 1

    def _new_id(self, collection: Collection) -> Any:
        collection.written += 1
        number = collection.written
        return {
            "int": lambda: number,
            "text": lambda: f"{collection.name}-{number}",
            "digits": lambda: f"{number:05}",
            "objectid": lambda: ObjectId(f"{number:024x}"),
            "uuid": lambda: Binary(uuid.UUID(int=number).bytes, 4),
            "document": lambda: {"shop": "a", "number": number},
        }[collection.ids]()

    def _written(self, collection: Collection) -> Document:
        document: Document = {}
        for one in collection.fields:
            self._write(collection, document, one)
        return document

    def _write(self, collection: Collection, document: Document, one: Field) -> None:
        if self.random.random() < one.share:
            put(document, one.path, None if one.null else self.value(one.kind, collection.words, one.factor))

    def value(self, kind: str, words: list[str], factor: int = 1) -> Any:
        """Return a random value of a kind, a few of them odd."""
        choose = self.random
        odd = ODD.get(kind)
        if odd and choose.random() < 0.06:
            return copy.deepcopy(choose.choice(odd))
        made: dict[str, Callable[[], Any]] = {
            "int": lambda: choose.randrange(100_000) * factor,
            "double": lambda: (choose.randrange(10**7) / 64 + 1 / 128) * factor,
            "decimal": lambda: Decimal128(f"{choose.randrange(10_000) * factor}.{choose.randrange(100):02}"),
            "text": lambda: f"{choose.choice(WORDS)} {choose.randrange(10**6)}",
            "number as text": lambda: f"{choose.randrange(10**5)}.{choose.randrange(10)}",
            "enum": lambda: choose.choice(words),
            "bool": lambda: choose.random() < 0.5,
            "date": lambda: START + timedelta(milliseconds=choose.randrange(10**11)),
            "date as text": lambda: f"2026-01-{choose.randint(1, 28):02}T10:{choose.randrange(60):02}:00Z",
            "objectid": lambda: ObjectId(choose.randbytes(12)),
            "uuid": lambda: Binary(choose.randbytes(16), 4),
            "binary": lambda: Binary(choose.randbytes(5), 0),
            "rare": lambda: choose.choice((Regex("a.b", "i"), Timestamp(7, 3), Binary(b"\x01\x02", 128))),
            "array": lambda: [
                self.value(choose.choice(("int", "text", "decimal", "date")), words)
                for _ in range(choose.randint(0, 3))
            ],
            "nested": lambda: {key: self.value(choose.choice(SCALARS), words) for key in ("a", "b", "value")},
            "item": lambda: {
                "sku": f"sku-{choose.randrange(50)}",
                "qty": choose.randint(1, 9),
                "price": self.value("decimal", words),
            },
            "items": lambda: [self.value("item", words) for _ in range(choose.randint(0, 4))],
            "skus": lambda: [f"sku-{choose.randrange(50)}" for _ in range(choose.randint(1, 4))],
        }
        return made[kind]()

    # -- releases

    def _release(self, collection: Collection) -> None:
        kinds = (
            self._new_field, self._new_field, self._new_array, self._vanish, self._come_back, self._rename,
            self._retype, self._retype, self._flatten, self._nest, self._flip, self._flip_items, self._new_word,
            self._other_unit, self._other_ids, self._optional, self._always_null, self._capital, self._item_field,
            self._refill,
        )  # fmt: skip
        self.random.choice(kinds)(collection)

    def _say(
        self, collection: Collection, kind: str, path: str, said: str = "", documents: int | None = None, to: str = ""
    ) -> None:
        migrated = documents is not None
        self.releases.append(Release(self.day, collection.name, kind, path, to, said, migrated, documents or 0))

    def _one_of(self, collection: Collection, *kinds: str) -> Field | None:
        found = [one for one in collection.fields if not kinds or one.kind in kinds]
        return self.random.choice(found) if found else None

    def _migrate(self, collection: Collection, change: Callable[[Document], bool]) -> int:
        """Change all documents for which there is something to change; return their number."""
        count = 0
        for key, document in list(self.documents[collection.name].items()):
            new = copy.deepcopy(document)
            if change(new):
                self._replace(collection, key, {**new, "updated_at": self._moment()})
                count += 1
        return count

    def _maybe_migrate(self, collection: Collection, change: Callable[[Document], bool]) -> int | None:
        return self._migrate(collection, change) if self.random.random() < 0.5 else None

    def _fresh(self, collection: Collection) -> str:
        return (
            f"{self.random.choice(('gift', 'Kürzel', 'order', 'value', '_hash', 'a-b', 'select'))}_{collection.written}"
        )

    def _new_field(self, collection: Collection) -> None:
        path: Path = (self._fresh(collection),)
        if self.random.random() < 0.3:
            path = ("meta", *path)
        kind = self.random.choice((*SCALARS, "nested"))
        one = Field(path, kind, self.random.choice((1.0, 1.0, 0.5, 0.05)))
        collection.fields.append(one)

        def fill(document: Document) -> bool:
            self._write(collection, document, one)
            return look(document, path) is not None

        self._say(collection, "new field", one.name, documents=self._maybe_migrate(collection, fill))

    def _new_array(self, collection: Collection) -> None:
        one = Field((self._fresh(collection),), "array")
        collection.fields.append(one)
        self._say(collection, "new field", one.name)

    def _vanish(self, collection: Collection) -> None:
        one = self._one_of(collection)
        if one is None or len(collection.fields) < 5:
            return
        collection.fields.remove(one)
        collection.gone.append(one)
        gone = self._maybe_migrate(collection, lambda document: take(document, one.path) is not None)
        self._say(collection, "vanished", one.name, documents=gone)

    def _come_back(self, collection: Collection) -> None:
        if not collection.gone:
            return
        one = collection.gone.pop(self.random.randrange(len(collection.gone)))
        if any(other.path == one.path for other in collection.fields):
            return
        collection.fields.append(one)
        self._say(collection, "came back", one.name)

    def _rename(self, collection: Collection) -> None:
        one = self._one_of(collection)
        if one is None or one.kind == "items":
            return
        self._move(collection, one, (*one.path[:-1], f"{one.path[-1]}_{collection.written}"), "renamed")

    def _move(self, collection: Collection, one: Field, to: Path, kind: str) -> None:
        before, old = one.path, one.name
        one.path = to

        kinds: set[type] = set()

        def move(document: Document) -> bool:
            value = take(document, before)
            if value is not None:
                put(document, to, value)
                kinds.add(type(value))
            return value is not None

        documents = self._maybe_migrate(collection, move)
        said = kinds.pop().__name__ if len(kinds) == 1 else ""
        self._say(collection, kind, old, said, documents, one.name)

    def _retype(self, collection: Collection) -> None:
        one = self._one_of(collection, *SCALARS, "number as text", "date as text")
        if one is None:
            return
        nearer = {
            "int": ("double", "decimal", "number as text", "text"),
            "double": ("decimal", "int", "number as text"),
            "decimal": ("double", "int", "number as text"),
            "number as text": ("decimal", "int"),
            "date": ("date as text", "int"),
            "date as text": ("date",),
        }
        kind = self.random.choice(nearer.get(one.kind, SCALARS))
        old, one.kind = one.kind, kind

        def again(document: Document) -> bool:
            if look(document, one.path) is None:
                return False
            put(document, one.path, self.value(kind, collection.words))
            return True

        self._say(collection, "type changed", one.name, f"{old} to {kind}", self._maybe_migrate(collection, again))

    def _flatten(self, collection: Collection) -> None:
        nested = [one for one in collection.fields if len(one.path) > 1]
        if nested:
            one = self.random.choice(nested)
            self._move(collection, one, ("_".join(one.path),), "nested to flat")

    def _nest(self, collection: Collection) -> None:
        flat = [one for one in collection.fields if len(one.path) == 1 and "_" in one.path[0] and one.kind != "items"]
        if flat:
            one = self.random.choice(flat)
            self._move(collection, one, ("group", one.path[0]), "flat to nested")

    def _flip(self, collection: Collection) -> None:
        """Let a scalar become an array, an array a scalar, a document a text, and back."""
        one = self._one_of(collection, "array", "text", "nested", "enum")
        if one is None:
            return
        old = one.kind
        one.kind = {"array": "text", "text": "array", "nested": "text", "enum": "nested"}[old]
        self._say(collection, "type changed", one.name, f"{old} to {one.kind}")

    def _flip_items(self, collection: Collection) -> None:
        one = self._one_of(collection, "items", "item", "skus")
        if one is None:
            return
        old = one.kind
        one.kind = self.random.choice([kind for kind in ("items", "items", "item", "skus") if kind != old])
        self._say(collection, "type changed", one.name, f"{old} to {one.kind}")

    def _new_word(self, collection: Collection) -> None:
        collection.words.append(f"state-{collection.written}")
        self._say(collection, "new value", "status", collection.words[-1])

    def _other_unit(self, collection: Collection) -> None:
        one = self._one_of(collection, "int", "decimal")
        if one is None:
            return
        one.factor = 100 if one.factor == 1 else 1
        self._say(collection, "unit changed", one.name, str(one.factor))

    def _other_ids(self, collection: Collection) -> None:
        old = collection.ids
        collection.ids = self.random.choice([
            kind for kind in ("int", "text", "digits", "objectid", "uuid", "document") if kind != old
        ])  # fmt: skip
        self._say(collection, "ids changed", "_id", f"{old} to {collection.ids}")

    def _optional(self, collection: Collection) -> None:
        one = self._one_of(collection)
        if one is not None:
            one.share = self.random.choice((0.1, 0.5, 1.0))
            self._say(collection, "optional", one.name, str(one.share))

    def _always_null(self, collection: Collection) -> None:
        one = self._one_of(collection)
        if one is not None:
            one.null = not one.null
            self._say(collection, "null", one.name, str(one.null))

    def _capital(self, collection: Collection) -> None:
        one = self._one_of(collection, "text", "int")
        if one is not None:
            self._move(collection, one, (*one.path[:-1], one.path[-1].swapcase()), "renamed")

    def _item_field(self, collection: Collection) -> None:
        """Give elements of the array another field, in the documents that there are."""
        name = self._fresh(collection)
        kind = self.random.choice(SCALARS)

        def extend(document: Document) -> bool:
            elements = document.get("items")
            if not isinstance(elements, list) or not elements or not isinstance(elements[0], dict):
                return False
            elements[0][name] = self.value(kind, collection.words)
            return True

        self._say(collection, "new field", f"items[].{name}", documents=self._migrate(collection, extend))

    def _refill(self, collection: Collection) -> None:
        """Empty the collection and fill it anew, as a restored backup does."""
        if self.random.random() < 0.5:
            return
        self._flush()
        self._of(collection.name).drop()
        documents = self.documents[collection.name]
        kept = self.random.sample(list(documents), len(documents) * 2 // 3)
        self.documents[collection.name] = {key: documents[key] for key in kept}
        for key in kept:
            documents[key]["updated_at"] = self._moment()
        if kept:
            self._of(collection.name).insert_many([documents[key] for key in kept])
        self.changes += len(documents)
        self._say(collection, "refilled", "")


def key_of(document: Document) -> str:
    """Return what tells a document from the others."""
    return repr(document["_id"])


def paths_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every field of a document that is not null, with its keys; documents by what they hold."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from paths_of(one, (*path, key))
    elif value is not None:
        yield path, value
