"""Why a sub-model has so many replicas: the last decision of the router that scales its pool, in words."""

from pydantic import ValidationError

from fastserve.api.identity import scaling_lease_name
from fastserve.api.meta import Document
from fastserve.api.state import RouterState
from fastserve.cli import door
from fastserve.errors import LocalError


class Explained(Document):
    """The last decision on one sub-model."""

    sub_model: str
    pool: str
    ready: int
    """Replicas that take requests."""
    replicas: int
    """Asked for."""
    wanted: int
    """Before bounds and budget."""
    reason: str
    """Why, as one PascalCase word."""
    message: str
    """Why, with the numbers."""
    time: str
    """When the number or the reason last changed (RFC 3339)."""
    source: str
    """Who told of the load: Routers or Prometheus."""
    problem: str
    """Why there is no data, or not all; empty where there is."""


def read_state(place: door.Place) -> RouterState:
    """What the router with this admin port knows. Raises LocalError."""
    document = door.get(place, "/v1/state")
    try:
        return RouterState.model_validate(document)
    except ValidationError as error:
        raise LocalError(
            f"{place.url}/v1/state is no router's state: give a router's admin port (8081 of its pod)."
        ) from error


def explain_scaling(state: RouterState, name: str) -> Explained:
    """The decision on sub-model `name`. Raises LocalError, with what to do, where this router made none."""
    known = _known(state)
    if name not in known:
        raise LocalError(f"Pool {state.pool} has no sub-model {name}. It has: {', '.join(known) or 'none'}.")
    if state.scaling is None:
        raise LocalError(f"Nothing of pool {state.pool} is scaled. {_how_to_scale(name)}")
    if not state.scaling.holder:
        raise LocalError(_who_decides(state))
    made = next((one for one in state.scaling.decisions if one.member == name), None)
    if made is None:
        scaled = ", ".join(one.member for one in state.scaling.decisions) or "none yet"
        raise LocalError(f"{name} is not scaled; decided on: {scaled}. {_how_to_scale(name)}")
    return Explained(
        sub_model=name,
        pool=state.pool,
        ready=_ready(state, name),
        replicas=made.replicas,
        wanted=made.wanted,
        reason=made.reason,
        message=made.message,
        time=made.time,
        source=state.scaling.source,
        problem=state.scaling.problem,
    )


def _known(state: RouterState) -> list[str]:
    """Sub-models that this router knows, by name."""
    decided = (one.member for one in state.scaling.decisions) if state.scaling else ()
    own = {state.member} if state.member else set()
    return sorted({*state.prototypes, *(peer.member for peer in state.peers), *decided, *own})


def _ready(state: RouterState, name: str) -> int:
    peers = sum(peer.member == name and peer.health == "Healthy" for peer in state.peers)
    return peers + (state.member == name and state.ready)


def _how_to_scale(name: str) -> str:
    return f"It has as many replicas as spec.replicas of {name} says; spec.autoscaling would scale it."


def _who_decides(state: RouterState) -> str:
    lease = scaling_lease_name(state.pool)
    return (
        f"Router {state.instance} does not scale pool {state.pool}, or has only just begun to: try again in"
        f" some seconds. On a cluster the holder of the Lease {lease} decides: `kubectl get lease {lease} -o"
        " jsonpath={.spec.holderIdentity}` tells the uid of its pod; forward that pod's admin port and name"
        " it with --url. Where nobody holds it, no router of the pool is ready, or none may write the Lease:"
        " `kubectl get pods` and the routers' logs say so."
    )
