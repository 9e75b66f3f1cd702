"""``hf://``: a model repository of the Hugging Face hub, at one commit.

The hub's own library says what there is and what refusals mean. The bytes are transferred by ours: the
library starts a file anew after a crash (its 2.x keeps no part that another process may go on with), and
cannot stop at a limit.
"""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch

import httpx2
from huggingface_hub import HfApi, hf_hub_url, set_client_factory
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from fastserve.api.uris import Source
from fastserve.errors import SourceNotFound, SourceUnavailable, Unauthorized
from fastserve.fetching.credentials import Credentials
from fastserve.fetching.remote import Body, Listing, RemoteFile
from fastserve.fetching.web import Ranged, WebSettings, check_status, mapped_faults, ranged_read, web_client

OTHER_FORMATS = (
    "*.bin",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "onnx/*",
    "openvino/*",
    "coreml/*",
)
"""The same weights once more, for other programs."""


class HubModel:
    """Reads one model repository. `endpoint` is asked instead of the public hub, where one is given."""

    def __init__(self, source: Source, credentials: Credentials, endpoint: str) -> None:
        self._repository = source.place
        self._revision = source.revision or None
        self._endpoint = (credentials.get("HF_ENDPOINT") or endpoint).rstrip("/") or None
        token = credentials.get("HF_TOKEN")
        plain = (self._endpoint or "").startswith("http://")
        schemes = frozenset({"https", "http"} if plain else {"https"})
        ca = credentials.get("ca.crt")
        set_client_factory(lambda: web_client(WebSettings(ca=ca, schemes=schemes)))
        self._api = HfApi(endpoint=self._endpoint, token=token or False, library_name="fastserve")
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = web_client(WebSettings(authorization, ca, schemes))

    def listing(self) -> Listing:
        """The files of the commit that the revision is now."""
        with _mapped_refusals():
            info = self._api.model_info(self._repository, revision=self._revision, files_metadata=True)
        commit = info.sha or ""
        siblings = [file for file in info.siblings or [] if file.size is not None]
        wanted = files_of_use([file.rfilename for file in siblings])
        files = tuple(self._file(file, commit) for file in siblings if file.rfilename in wanted)
        if not files or not commit:
            raise SourceNotFound("the model repository has no files: check the URI")
        return Listing(files, commit)

    @contextmanager
    def read(self, file: RemoteFile, offset: int) -> Iterator[Body]:
        # The address names the commit, so its bytes cannot change.
        with ranged_read(self._client, Ranged(file.key, offset)) as body:
            yield body

    def close(self) -> None:
        self._client.close()

    def _file(self, sibling: RepoSibling, commit: str) -> RemoteFile:
        url = hf_hub_url(self._repository, sibling.rfilename, revision=commit, endpoint=self._endpoint)
        sha256 = sibling.lfs.sha256 if sibling.lfs else ""
        tag = sha256 or sibling.blob_id or commit
        return RemoteFile(sibling.rfilename, sibling.size or 0, tag, url, sha256)


def files_of_use(paths: list[str]) -> frozenset[str]:
    """Of a checkpoint in safetensors everything but the same weights in other formats and the repository's
    own files; of anything else all but the latter."""
    own = {path for path in paths if posixpath.basename(path).startswith(".git")}
    checkpoint = "config.json" in paths and any(
        fnmatch(path, "*.safetensors") and "/" not in path for path in paths
    )
    others = (
        {path for path in paths if any(fnmatch(path, form) for form in OTHER_FORMATS)}
        if checkpoint
        else set()
    )
    return frozenset(paths) - own - others


@contextmanager
def _mapped_refusals() -> Iterator[None]:
    try:
        with mapped_faults():
            yield
    except RevisionNotFoundError as error:
        raise SourceNotFound("the model has no such revision: check what follows the colon") from error
    except (GatedRepoError, DisabledRepoError) as error:
        raise Unauthorized(
            "the model asks for consent that this token's owner has not given: accept its terms, and name a"
            " Secret with HF_TOKEN in spec.model.credentials"
        ) from error
    except RepositoryNotFoundError as error:
        if error.response.status_code == httpx2.codes.NOT_FOUND:
            raise SourceNotFound("there is no such model, or it is private: check the URI") from error
        raise Unauthorized(
            "there is no such model, or this token may not see it: check the URI, and name a Secret with"
            " HF_TOKEN in spec.model.credentials"
        ) from error
    except HfHubHTTPError as error:
        check_status(error.response)
        raise SourceUnavailable("the hub gave an answer that its library does not know") from error
    except HFValidationError as error:
        raise SourceNotFound("the hub has no such names: check the URI") from error
