"""Connectors of other people: programs in environments of their own that speak the Airbyte protocol."""
