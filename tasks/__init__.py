"""What the flows call: sources, landing, bronze, drift, checkpoints, dbt, configuration."""
