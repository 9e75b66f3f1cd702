from cluster.image_store import nameless

LISTING = """\
REF                        TYPE                                          DIGEST     SIZE    PLATFORMS   LABELS
localhost/router:dev-2     application/vnd.oci.image.manifest.v1+json    sha256:m2  1.0 MiB linux/amd64 a=b
sha256:config-of-two       application/vnd.oci.image.manifest.v1+json    sha256:m2  1.0 MiB linux/amd64 a=b
sha256:config-of-one       application/vnd.oci.image.manifest.v1+json    sha256:m1  1.0 MiB linux/amd64 a=b
"""


def test_an_image_without_a_tag_is_nameless_and_one_that_shares_a_tags_digest_is_not() -> None:
    assert nameless(LISTING) == ["sha256:config-of-one"]


def test_an_empty_store_has_none() -> None:
    assert nameless("REF TYPE DIGEST SIZE PLATFORMS LABELS\n") == []
