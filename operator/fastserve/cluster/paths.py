"""Where the API server keeps things."""

from collections.abc import Mapping

from fastserve.api.objects import Kind, ObjectKey
from fastserve.cluster.port import Selector


def collection_path(kind: Kind, namespace: str) -> str:
    """The path of all objects of a kind: in `namespace`, or everywhere where that is empty."""
    root = "/api" if "/" not in kind.api_version else "/apis"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}/{kind.api_version}{scope}/{kind.plural}"


def object_path(kind: Kind, key: ObjectKey, subresource: str = "") -> str:
    path = f"{collection_path(kind, key.namespace)}/{key.name}"
    return f"{path}/{subresource}" if subresource else path


def selector_query(selector: Selector) -> dict[str, str]:
    """The query parameters of a selector; none for one that takes all."""
    query = {"labelSelector": _joined(selector.labels), "fieldSelector": _joined(selector.fields)}
    return {name: value for name, value in query.items() if value}


def _joined(pairs: Mapping[str, str] | None) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((pairs or {}).items()))
