import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastserve.errors import SourceUnavailable
from wiring.fetching.fetching_world import MEGABYTE, Fetcher, FileServer, Served, hurried, killed_at

CONTENT = random.Random(7).randbytes(4 * MEGABYTE)
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
PATH = "/models/m.bin"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    with FileServer(tmp_path, {PATH: Served(CONTENT)}).running() as running:
        yield running


@pytest.fixture
def fetcher(tmp_path: Path, server: FileServer) -> Fetcher:
    return Fetcher(tmp_path, {"ca.crt": server.ca.read_text()})


def test_a_file_arrives_with_its_digest_and_a_marker(server: FileServer, fetcher: Fetcher) -> None:
    outcome = fetcher.run(server.url(PATH), digest=DIGEST)
    assert outcome.code == 0, outcome
    assert fetcher.files() == {"m.bin": CONTENT}
    assert outcome.last == {
        "phase": "Fetched",
        "bytesDone": len(CONTENT),
        "bytesTotal": len(CONTENT),
        "revision": "v1",
        "digest": DIGEST,
    }
    assert fetcher.marker["files"] == {"m.bin": {"size": len(CONTENT), "sha256": DIGEST[7:]}}
    assert not fetcher.partial.exists()


def test_a_second_call_transfers_nothing(server: FileServer, fetcher: Fetcher) -> None:
    first = fetcher.run(server.url(PATH))
    asked = len(server.asked)
    second = fetcher.run(server.url(PATH))
    assert (second.code, second.last) == (0, first.last)
    assert len(server.asked) == asked
    assert not fetcher.partial.exists()


def test_a_damaged_destination_is_fetched_again(server: FileServer, fetcher: Fetcher) -> None:
    fetcher.run(server.url(PATH))
    (fetcher.destination / "m.bin").write_bytes(b"short")
    assert fetcher.run(server.url(PATH)).code == 0
    assert fetcher.files() == {"m.bin": CONTENT}


def test_what_was_not_fetched_is_never_replaced(server: FileServer, fetcher: Fetcher) -> None:
    fetcher.destination.mkdir(parents=True)
    (fetcher.destination / "mine.txt").write_text("mine")
    outcome = fetcher.run(server.url(PATH))
    assert (outcome.code, outcome.last["reason"]) == (20, "DestinationOccupied")
    assert (fetcher.destination / "mine.txt").read_text() == "mine"


def test_progress_comes_at_most_four_times_a_second_and_only_grows(
    server: FileServer, fetcher: Fetcher
) -> None:
    server.files[PATH].seconds_per_chunk = 0.02
    outcome = fetcher.run(server.url(PATH))
    steps = outcome.lines[:-1]
    assert 3 <= len(steps) <= 4 * outcome.seconds + 1
    assert {step["phase"] for step in steps} == {"Fetching"}
    assert {step["bytesTotal"] for step in steps} == {len(CONTENT)}
    done = [step["bytesDone"] for step in steps]
    assert done == sorted(done)
    assert done[-1] > done[0]


def test_a_killed_fetch_goes_on_where_it_was(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH].seconds_per_chunk = 0.02
    had = killed_at(fetcher.start(server.url(PATH), digest=DIGEST), 0.5)
    assert not fetcher.destination.exists()
    assert fetcher.partial.exists()
    server.files[PATH].seconds_per_chunk = 0
    sent_before = server.bytes_sent
    outcome = fetcher.run(server.url(PATH), digest=DIGEST)
    assert outcome.code == 0, outcome
    assert fetcher.files() == {"m.bin": CONTENT}
    assert server.bytes_sent - sent_before <= len(CONTENT) - had + 1
    assert not fetcher.partial.exists()


def test_a_file_that_changed_since_the_kill_is_fetched_anew(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH].seconds_per_chunk = 0.02
    killed_at(fetcher.start(server.url(PATH)), 0.5)
    other = CONTENT[::-1]
    server.files[PATH] = Served(other, etag='"v2"')
    assert fetcher.run(server.url(PATH)).code == 0
    assert fetcher.files() == {"m.bin": other}
    assert fetcher.marker["revision"] == "v2"


def test_without_a_validator_nothing_is_resumed(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH] = Served(CONTENT, etag="", cuts=[MEGABYTE])
    outcome = fetcher.run(server.url(PATH), digest=DIGEST)
    assert outcome.code == 0, outcome
    assert [asked for _, asked, _ in server.asked] == ["bytes=0-0", "", ""]


def test_a_transfer_that_breaks_off_is_gone_on_with(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH].cuts = [MEGABYTE, MEGABYTE // 2]
    outcome = fetcher.run(server.url(PATH), digest=DIGEST)
    assert outcome.code == 0, outcome
    assert fetcher.files() == {"m.bin": CONTENT}
    assert server.bytes_sent <= len(CONTENT) + 1


def test_a_server_without_ranges_starts_over(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH] = Served(CONTENT, ranges=False, cuts=[len(CONTENT), MEGABYTE])
    outcome = fetcher.run(server.url(PATH), digest=DIGEST)
    assert outcome.code == 0, outcome
    done = [line["bytesDone"] for line in outcome.lines]
    assert max(done) == len(CONTENT)


def test_a_server_that_is_busy_is_asked_again(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH].statuses = [503, 429]
    assert fetcher.run(server.url(PATH)).code == 0


def test_a_server_that_announces_too_much_is_not_believed(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH] = Served(CONTENT[:1000], announced=2000, ranges=False)
    with pytest.raises(SourceUnavailable):
        hurried(fetcher, server.url(PATH))
    assert not fetcher.destination.exists()


def test_nobody_listening_is_told_after_bounded_tries(server: FileServer, fetcher: Fetcher) -> None:
    with pytest.raises(SourceUnavailable, match="ConnectError"):
        hurried(fetcher, "https://127.0.0.1:9/m.bin")


def test_a_source_without_a_word_is_told_after_three_tries(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH].statuses = [503] * 9
    outcome = fetcher.run(server.url(PATH))
    assert (outcome.code, outcome.last["reason"]) == (13, "SourceUnavailable")
    assert len(server.asked) == 3


def test_wrong_bytes_leave_nothing_behind(server: FileServer, fetcher: Fetcher) -> None:
    outcome = fetcher.run(server.url(PATH), digest="sha256:" + "0" * 64)
    assert (outcome.code, outcome.last["reason"]) == (15, "DigestMismatch")
    assert DIGEST in outcome.last["message"]
    assert not fetcher.partial.exists()
    assert not fetcher.destination.exists()


def test_a_known_size_over_the_limit_is_refused_before_a_transfer(
    server: FileServer, fetcher: Fetcher
) -> None:
    outcome = fetcher.run(server.url(PATH), maxBytes=MEGABYTE)
    assert (outcome.code, outcome.last["reason"]) == (16, "SizeLimitExceeded")
    assert server.bytes_sent <= 1


def test_an_unknown_size_is_stopped_at_the_limit(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH] = Served(CONTENT, announced=-1, ranges=False, seconds_per_chunk=0.01)
    outcome = fetcher.run(server.url(PATH), maxBytes=MEGABYTE)
    assert (outcome.code, outcome.last["reason"]) == (16, "SizeLimitExceeded")
    assert server.bytes_sent < len(CONTENT)


@pytest.mark.parametrize(
    ("path", "code", "reason"), [("/none.bin", 11, "NotFound"), ("/locked.bin", 12, "Unauthorized")]
)
def test_refusals_say_what_to_do(
    server: FileServer, fetcher: Fetcher, path: str, code: int, reason: str
) -> None:
    server.files["/locked.bin"] = Served(b"x", authorization="Bearer other")
    fetcher.secret["bearerToken"] = "t0k3n-of-mine"
    outcome = fetcher.run(server.url(path) + "?signature=s3cr3t")
    assert (outcome.code, outcome.last["reason"]) == (code, reason)
    assert len(server.asked) == 1
    said = json.dumps(outcome.lines) + outcome.stderr
    assert "t0k3n-of-mine" not in said
    assert "s3cr3t" not in said
    assert server.host not in said


def test_credentials_reach_the_server_but_not_the_host_it_redirects_to(
    server: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with FileServer(tmp_path / "other", {"/there.bin": Served(b"there")}).running() as other:
        server.files["/a.bin"] = Served(b"", redirect=other.url("/there.bin"))
        fetcher.secret |= {
            "username": "me",
            "password": "pass-word",
            "ca.crt": server.ca.read_text() + other.ca.read_text(),
        }
        assert fetcher.run(server.url("/a.bin")).code == 0
        assert fetcher.files() == {"a.bin": b"there"}
        assert {authorization for _, _, authorization in server.asked} == {"Basic bWU6cGFzcy13b3Jk"}
        assert {authorization for _, _, authorization in other.asked} == {""}


def test_a_redirect_without_tls_is_refused(server: FileServer, fetcher: Fetcher) -> None:
    server.files["/a.bin"] = Served(b"", redirect="http://127.0.0.1:9/b.bin")
    outcome = fetcher.run(server.url("/a.bin"))
    assert (outcome.code, outcome.last["reason"]) == (13, "SourceUnavailable")
    assert "https" in outcome.last["message"]


def test_an_unknown_authority_is_named_as_such(server: FileServer, fetcher: Fetcher) -> None:
    fetcher.secret.clear()
    outcome = fetcher.run(server.url(PATH))
    assert (outcome.code, outcome.last["reason"]) == (13, "SourceUnavailable")
    assert "ca.crt" in outcome.last["message"]
    assert outcome.seconds < 5


def test_a_full_volume_is_told_as_such(server: FileServer, fetcher: Fetcher, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small volume needs root")
    volume = fetcher.destination.parent
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(volume)], check=True)
    try:
        before = fetcher.run(server.url(PATH))
        server.files[PATH] = Served(CONTENT, announced=-1, ranges=False)
        meanwhile = fetcher.run(server.url(PATH))
    finally:
        subprocess.run(["umount", str(volume)], check=True)
    assert (before.code, before.last["reason"]) == (17, "DiskFull")
    assert "bytes are needed" in before.last["message"]
    assert (meanwhile.code, meanwhile.last["reason"]) == (17, "DiskFull")


def test_two_processes_do_not_write_to_one_place(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH].seconds_per_chunk = 0.03
    first = fetcher.start(server.url(PATH))
    assert first.stdout is not None
    first.stdout.readline()
    second = fetcher.run(server.url(PATH))
    first.communicate()
    assert (first.returncode, second.code) == (0, 0)
    assert server.bytes_sent <= len(CONTENT) + 1


def test_without_a_reader_the_process_ends(server: FileServer, fetcher: Fetcher) -> None:
    server.files[PATH].seconds_per_chunk = 0.1
    process = fetcher.start(server.url(PATH))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=20) != 0
    process.stderr.close()
    assert server.bytes_sent < len(CONTENT)


def test_a_request_that_is_none_is_refused(fetcher: Fetcher) -> None:
    outcome = fetcher.run("https://h/a.zip", maxBytes=0)
    assert (outcome.code, outcome.last["reason"]) == (2, "InvalidSpec")
    outcome = fetcher.run("pvc://claim/a")
    assert (outcome.code, outcome.last["reason"]) == (2, "InvalidSpec")
    assert "read where it lies" in outcome.last["message"]


def test_a_kill_while_the_files_were_arranged_does_not_stop_the_next_fetch(
    server: FileServer, fetcher: Fetcher
) -> None:
    (fetcher.partial / "files.lifted" / "half").mkdir(parents=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model/config.json"))
    server.files["/m.tar"] = Served(packed.getvalue())
    assert fetcher.run(server.url("/m.tar")).code == 0
    assert fetcher.files() == {"config.json": b""}


def test_an_error_that_quotes_a_stranger_is_cut_short(server: FileServer, fetcher: Fetcher) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("x" * 200_000)
        info.type = tarfile.CHRTYPE
        archive.addfile(info)
    server.files["/m.tar"] = Served(packed.getvalue())
    outcome = fetcher.run(server.url("/m.tar"))
    assert outcome.last["reason"] == "ArchiveRefused"
    assert len(outcome.last["message"]) <= 4096
