"""FastServe: many specialised models behind one endpoint, on Triton."""

__version__ = "0.1.0"
