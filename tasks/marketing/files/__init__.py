"""Files of ad channels and other tools: CSV, JSON lines, Parquet, in a folder or an object store."""
