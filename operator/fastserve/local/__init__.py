"""The plan on one machine: the same YAML, run as processes."""
