"""Sources: sources.yaml, the contract that every kind of source keeps, and the registry of kinds."""

from tasks.sources.config import Derive, Kind, OnDrift, Rule, Source, Table, TableRef, Transform
from tasks.sources.file import Sources, load_sources

__all__ = [
    "Derive",
    "Kind",
    "OnDrift",
    "Rule",
    "Source",
    "Sources",
    "Table",
    "TableRef",
    "Transform",
    "load_sources",
]
