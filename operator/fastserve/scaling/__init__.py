"""How many replicas there are to be. Pure: values and `now` in, a decision out."""
