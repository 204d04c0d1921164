"""Embedded servers of the demo and the tests: Postgres, a MongoDB-wire server and Prefect, all under one folder."""
