"""The logging table, the kinds of failure, and the report of each run."""
