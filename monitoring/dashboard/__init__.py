"""The live dashboard: the panels of monitoring/pages with filters, read as a role that may do nothing else."""
