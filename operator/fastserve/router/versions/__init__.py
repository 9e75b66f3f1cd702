"""Versions in exchange at one router: what it drives at, what a trial gets, what each has shown."""
