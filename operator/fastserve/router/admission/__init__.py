"""Admission before this router's own Triton: who is let in, who waits, who is answered 429 at once.

`concurrency` says how many are let in at once, `fairness` who of those that wait goes next and who goes
without, `forecast` how long a wait will be; all three are pure. `gate` is where coroutines wait.
docs/decisions/0011-admission.md tells why it is so.
"""
