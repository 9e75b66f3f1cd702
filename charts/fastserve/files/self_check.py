"""What `helm test` asks: is an operator ready, and may its account list pools?

Run in the operator's image with its account: self_check.py READY_URL [NAMESPACE].
"""

import json
import ssl
import sys
from pathlib import Path
from urllib.request import Request, urlopen

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def main(ready_url: str, namespace: str = "") -> None:
    """Print what was found. Raises URLError where the operator or the API server refuses."""
    with urlopen(ready_url, timeout=10) as answer:  # noqa: S310
        print("the operator is ready:", answer.status)
    within = f"namespaces/{namespace}/" if namespace else ""
    request = Request(
        f"https://kubernetes.default.svc/apis/fastserve.io/v1alpha1/{within}modelpools?limit=10",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
    )
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310
        print("pools seen, of at most ten:", len(json.load(answer)["items"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
