"""Pins for another build of PyTorch."""

from fastserve.local.environment import without_hashes

PINS = """numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
nvidia-cublas==13.4 ; sys_platform == 'linux' \\
    --hash=sha256:cc
torch==2.15.0 \\
    --hash=sha256:dd
triton==3.9.0 ; sys_platform == 'linux' \\
    --hash=sha256:ee
"""


def test_versions_stay_and_hashes_and_cuda_libraries_go() -> None:
    assert without_hashes(PINS) == "numpy==2.4.6 ; python_full_version < '3.12'\ntorch==2.15.0\n"
