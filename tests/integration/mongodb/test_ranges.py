"""`_id` ranges cover a collection exactly once, whatever types its ids have."""

from __future__ import annotations

import datetime
import itertools
import random
from typing import Any

from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from tasks.mongodb import ranges
from tests.fixtures.mongodb import Shop

UTC = datetime.UTC
MIXED: list[Any] = [
    *(1, 2.5, Int64(7), Decimal128("9.5"), float("nan"), float("inf"), float("-inf"), None, True, False),
    *("", "a", "zz", MinKey(), MaxKey(), Timestamp(1, 1), {"a": 1}, {"b": 2}, {"a": 2, "c": "x"}),
    *(Binary(b"x" * 16, 4), Binary(b"y" * 16, 0), datetime.datetime(2020, 1, 1), datetime.datetime(1960, 1, 1)),
    *(ObjectId() for _ in range(10)),
    *range(100, 110),
    *(f"s{number}" for number in range(10)),
]


def test_every_split_of_mixed_ids_covers_each_document_once(shop: Shop) -> None:
    random.Random(3).shuffle(MIXED)
    shop.database.mixed.insert_many([{"_id": key} for key in MIXED])
    with MongoClient(shop.uri, document_class=RawBSONDocument) as client:
        collection = client[shop.name].mixed
        expected = sorted(document.raw for document in collection.find())
        assert len(expected) == len(MIXED)
        points = [ranges.to_bound(document) for document in collection.find().sort("_id", 1)]
        for point in points:
            found = [
                document.raw
                for low, high in ((None, point), (point, None))
                for document in collection.find(ranges.range_filter(low, high))
            ]
            assert sorted(found) == expected, ranges.bound_value(point)
        for low, high in ((points[5], points[20]), (points[0], points[-1]), (points[12], points[13])):
            between = [document.raw for document in collection.find(ranges.range_filter(low, high))]
            expected_between = points[points.index(low) : points.index(high)]
            assert sorted(ranges.to_bound(RawBSONDocument(raw)) for raw in between) == sorted(expected_between)


def test_sampled_split_points_ascend_and_cover(shop: Shop) -> None:
    shop.database.mixed.insert_many([{"_id": key} for key in range(500)])
    with MongoClient(shop.uri, document_class=RawBSONDocument) as client:
        collection = client[shop.name].mixed
        points = ranges.split_points(collection, 5, {})
        values = [ranges.bound_value(point) for point in points]
        assert values == sorted(values)
        assert len(points) == 4
        sizes = [
            len(list(collection.find(ranges.range_filter(low, high))))
            for low, high in itertools.pairwise([None, *points, None])
        ]
    assert sum(sizes) == 500
    assert max(sizes) < 250, "no range may hold half of the collection"
