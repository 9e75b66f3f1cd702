"""Who is compared, and what of each is tuned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastserve.scaling.samples import Bounds
from scaling.scalers import Clairvoyant, Hpa, Keda, Kpa, Kubeai, Ours
from scaling.simulate import Scaler, Terms

OURS, OURS_TUNED, BOUND = "FastServe", "FastServe, tuned", "clairvoyant"
IN_FLIGHT = (0.8, 1.2, 1.6, 2.0, 2.5, 3.0)
"""Requests in a replica, by its batch of 2."""
WHOLE_IN_FLIGHT = (1, 2, 3, 4)
WAITING = (0.1, 0.5, 2.0)
BUSY = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Setting:
    """One scaler with what is tuned of it; `make` gets the terms and the arrivals."""

    name: str
    told: str
    make: Callable[[Terms, Sequence[float]], Scaler]


def _plain(name: str, told: str, make: Callable[[], Scaler]) -> Setting:
    return Setting(name, told, lambda _terms, _arrivals: make())


def _ours(name: str, millis: int, idle: int = 300) -> Setting:
    def make(terms: Terms, _arrivals: Sequence[float]) -> Scaler:
        bounds = Bounds(terms.least, terms.most, target_seconds=millis / 1000.0, idle_seconds=float(idle))
        return Ours(bounds)

    return Setting(name, f"targetQueueMillis {millis}, idleSeconds {idle}", make)


def _bound(use: float) -> Setting:
    def make(terms: Terms, arrivals: Sequence[float]) -> Scaler:
        return Clairvoyant(arrivals, terms.service.pace, use, max(terms.loads))

    return Setting(BOUND, f"use {use:g}", make)


def _hpa(target: float, metric: str, window: int, name: str) -> Setting:
    told = f"{metric} {target:g}, stabilisation {window} s"
    return _plain(name, told, lambda: Hpa(metric, target, float(window)))


def _keda(target: float, metric: str, window: int) -> Setting:
    told = f"{metric} {target:g}, stabilisation {window} s"
    return _plain("KEDA", told, lambda: Keda(metric, target, float(window)))


def _kpa(target: float) -> Setting:
    return _plain("KPA", f"concurrency {target:g}", lambda: Kpa(target))


def _kubeai(target: int, window: int) -> Setting:
    told = f"targetRequests {target}, timeWindow {window} s"
    return _plain("KubeAI", told, lambda: Kubeai(target, window))


def settings(pace: float, *, windows: bool) -> dict[str, list[Setting]]:
    """By scaler, all that tuning may choose from; with `windows` also how long they look back."""
    stays = (300, 60) if windows else (300,)
    spans = (600, 120) if windows else (600,)
    metrics = [("in_flight", one) for one in IN_FLIGHT] + [("waiting", one) for one in WAITING]
    triggers = [("arrivals", one * pace) for one in BUSY] + [("waiting", one) for one in WAITING]
    return {
        OURS: [_ours(OURS, 100)],
        OURS_TUNED: [_ours(OURS_TUNED, millis, idle) for millis in (25, 50, 100, 200) for idle in (300, 540)],
        "HPA on CPU": [_hpa(one, "cpu", stay, "HPA on CPU") for one in BUSY for stay in stays],
        "HPA on queue": [_hpa(one, name, stay, "HPA on queue") for name, one in metrics for stay in stays],
        "KPA": [_kpa(one) for one in IN_FLIGHT],
        "KEDA": [_keda(one, name, stay) for name, one in triggers for stay in stays],
        "KubeAI": [_kubeai(one, span) for one in WHOLE_IN_FLIGHT for span in spans],
    }


def bounds() -> list[Setting]:
    """The clairvoyant one, the leanest first."""
    return [_bound(use) for use in (1.0, 0.9, 0.8, 0.7, 0.55)]
