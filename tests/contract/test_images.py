"""What holds for every image, read from its Dockerfile; building them is the cluster's business."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "images"
DOCKERFILES = sorted(IMAGES.glob("*/Dockerfile"))
COPIED = re.compile(r"\S+\.txt\b")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
CALLERS_OWN = {"ENGINE_IMAGE"}
"""Images that only whoever builds has: they cannot have a default."""

every_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.parent.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Keyword and rest of each instruction; comments left out, continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (words[0], words[1])
        for line in joined.splitlines()
        if len(words := line.strip().split(maxsplit=1)) > 1
    ]


def values(dockerfile: Path, keyword: str) -> list[str]:
    return [rest for word, rest in instructions(dockerfile) if word == keyword]


def last_stage(dockerfile: Path) -> list[tuple[str, str]]:
    found = instructions(dockerfile)
    start = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def base_arguments(dockerfile: Path) -> dict[str, str]:
    """The arguments before the first FROM, with their defaults; empty where there is none."""
    found = instructions(dockerfile)
    first = next(index for index, (word, _) in enumerate(found) if word == "FROM")
    given = [rest.partition("=") for word, rest in found[:first] if word == "ARG"]
    return {name: default for name, _, default in given}


def requirements() -> list[Path]:
    """Every requirement file that a Dockerfile copies in."""
    named = {
        name for file in DOCKERFILES for copied in values(file, "COPY") for name in COPIED.findall(copied)
    }
    return sorted(ROOT / name for name in named if not name.startswith("/"))


def test_the_three_images_are_there() -> None:
    assert [file.parent.name for file in DOCKERFILES] == ["operator", "router", "triton"]


@every_dockerfile
def test_a_base_from_a_registry_is_pinned_by_digest(dockerfile: Path) -> None:
    arguments = base_arguments(dockerfile)
    assert "BASE" in arguments
    for name, default in arguments.items():
        other = re.fullmatch(r"\$\{(\w+)\}", default)
        if other:
            assert other[1] in arguments
        elif name in CALLERS_OWN:
            assert default == ""
        else:
            assert DIGEST.search(default), f"{name}={default}"


@every_dockerfile
def test_a_stage_starts_from_a_base_argument_or_an_earlier_stage(dockerfile: Path) -> None:
    known = {f"${{{name}}}" for name in base_arguments(dockerfile)}
    for rest in values(dockerfile, "FROM"):
        source, _, stage = rest.partition(" AS ")
        assert source in known, f"FROM {rest}"
        known.add(stage)


@every_dockerfile
def test_nothing_is_latest_and_no_index_is_named(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert ":latest" not in text
    assert "://" not in text, "indexes and mirrors are the business of whoever builds"
    assert "index-url" not in text.lower()


@every_dockerfile
def test_an_image_runs_as_a_number_that_is_not_root(dockerfile: Path) -> None:
    # A name cannot be checked by the kubelet's runAsNonRoot.
    users = [rest for word, rest in last_stage(dockerfile) if word == "USER"]
    assert users == ["65532:65532"]


@every_dockerfile
def test_our_code_is_the_last_layer_of_files(dockerfile: Path) -> None:
    layers = [rest for word, rest in last_stage(dockerfile) if word in {"COPY", "ADD", "RUN"}]
    assert layers[-1] == "--from=code /opt/fastserve/code /opt/fastserve/code"


@every_dockerfile
def test_an_image_tells_what_it_is(dockerfile: Path) -> None:
    labels = " ".join(values(dockerfile, "LABEL"))
    for name in ("title", "description", "version", "revision", "source", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels
    declared = {rest.partition("=")[0] for word, rest in last_stage(dockerfile) if word == "ARG"}
    assert declared == {"VERSION", "REVISION", "SOURCE"}


@every_dockerfile
def test_packages_are_installed_by_hash_only(dockerfile: Path) -> None:
    installs = [command for rest in values(dockerfile, "RUN") for command in re.split(r"&&|;", rest)]
    installs = [command for command in installs if re.search(r"\bpip\S* install\b", command)]
    assert len(installs) >= 2
    assert [command for command in installs if "--require-hashes" not in command] == []


@every_dockerfile
def test_python_writes_nothing_into_a_read_only_root(dockerfile: Path) -> None:
    environment = " ".join(rest for word, rest in last_stage(dockerfile) if word == "ENV").split()
    assert {"PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp"} <= set(environment)


def test_what_is_installed_for_the_stub_lies_beside_it_too() -> None:
    """Triton's stub looks for modules at no other place: a user's own model imports numpy there."""
    text = (ROOT / "images" / "triton" / "Dockerfile").read_text(encoding="utf-8")
    assert "--target /server/opt/fastserve/stub" in text
    loop = r"for package in /server/opt/fastserve/stub/\*; do .{,5}ln -sfn .+ (/\S+/python/);"
    found = re.search(loop, " ".join(text.split()))
    assert found is not None
    assert found[1] == "/server/opt/tritonserver/backends/python/"


def test_every_requirement_that_is_copied_is_there_and_has_a_hash() -> None:
    files = requirements()
    assert {IMAGES / "uv.txt", IMAGES / "operator" / "requirements.txt"} <= set(files)
    for file in files:
        text = file.read_text()
        pins = re.findall(
            r"^[A-Za-z0-9][\w.\-]*(.*?)(?:\\\n((?:    --hash=\S+.*\n?)+))?$", text, re.MULTILINE
        )
        assert pins, file
        assert all(version.startswith("==") and hashes for version, hashes in pins), file
        assert "://" not in text, file


@pytest.mark.parametrize("name", ["operator", "router"])
def test_there_is_no_torch_in(name: str) -> None:
    pinned = set(re.findall(r"^([\w.\-]+)==", (IMAGES / name / "requirements.txt").read_text(), re.MULTILINE))
    assert len(pinned) > 10
    assert {
        package for package in pinned if re.match(r"torch|transformers$|nvidia-|triton$", package)
    } == set()


def test_the_debootstrap_base_has_what_the_images_would_install() -> None:
    # Where it has not, the images differ by their base, or need a mirror while they are built.
    script = (IMAGES / "base" / "build.sh").read_text()
    debootstrapped = set(re.search(r"^packages=(\S+)$", script, re.MULTILINE)[1].split(","))
    for dockerfile in DOCKERFILES:
        runtime = values(dockerfile, "RUN")[0].replace("${PYTHON}", "python3.11")
        installed = re.search(r"--no-install-recommends ((?:[\w.\-]+ )+)", runtime)
        assert installed, dockerfile
        assert "ca-certificates" in installed[1]
        assert set(installed[1].split()) <= debootstrapped


@every_dockerfile
def test_a_build_mounts_nothing(dockerfile: Path) -> None:
    # buildah of Debian 12 finds a cached stage's mount empty, and prefers a cache mount to the caller's own.
    assert [rest for rest in values(dockerfile, "RUN") if "--mount" in rest] == []
