"""How many replicas serve a load so that requests hardly wait.

A replica is `places` servers, each of which takes places / pace seconds for a request. With A requests under
way on average (offered load, Little's law) and N servers, Halfin and Whitt (Operations Research 29, 1981,
eq. 2.3) give the probability to wait at all; what is above a wait t falls off exponentially, as in
Kingman's heavy-traffic limit with arrivals that are `burst` times as variable as Poisson's:

    beta     = (N - A) / sqrt(A burst)
    P(W > t) = [1 + beta Phi(beta) / phi(beta)]^-1 exp(-(N - A) t pace / places 2 / (1 + burst))
"""

from dataclasses import dataclass
from math import ceil, erf, exp, pi, sqrt

LATE_SHARE = 0.05
"""Share of the requests that may wait longer than the target."""
MOST = 1000


@dataclass(frozen=True, slots=True)
class Server:
    """What one replica can do. `pace` is requests per second at the most, `places` how many at once."""

    pace: float
    places: int


def replicas_for(rate: float, server: Server, target_seconds: float, burst: float = 1.0) -> int:
    """The least replicas with which at most LATE_SHARE of `rate` requests per second wait longer than
    `target_seconds`; between 1 and MOST. `burst` is variance over mean of the arrivals' counts."""
    least = max(1, ceil(rate / server.pace))
    for replicas in range(least, MOST):
        if late_share(rate, replicas, server, target_seconds, burst) <= LATE_SHARE:
            return replicas
    return MOST


def late_share(rate: float, replicas: int, server: Server, seconds: float, burst: float = 1.0) -> float:
    """P(W > seconds)."""
    under_way = rate / server.pace * server.places
    spare = replicas * server.places - under_way
    if under_way <= 0.0:
        return 0.0
    if spare <= 0.0:
        return 1.0
    beta = spare / sqrt(under_way * burst)
    return _waits_at_all(beta) * exp(-spare * seconds * server.pace / server.places * 2.0 / (1.0 + burst))


def _waits_at_all(beta: float) -> float:
    density = exp(-beta * beta / 2.0) / sqrt(2.0 * pi)
    if density < 1e-12:
        return 0.0
    return 1.0 / (1.0 + beta * 0.5 * (1.0 + erf(beta / sqrt(2.0))) / density)
