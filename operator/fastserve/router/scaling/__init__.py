"""What a router measures of the pool's load, and what it does about sub-models that sleep."""
