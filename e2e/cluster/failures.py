class ClusterFailed(Exception):
    """The cluster cannot be brought up or down. The text says what to do, or shows the log that tells."""
