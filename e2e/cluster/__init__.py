"""A real Kubernetes cluster on one Linux machine, from Go modules and Debian packages: see README.md."""
