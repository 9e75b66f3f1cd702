"""Entry of the `fastserve` command; the only place of the command that reads the environment."""

import os

from fastserve.cli.app import application
from fastserve.cli.surroundings import Surroundings


def main() -> None:
    """Run the command line."""
    environment = os.environ
    application(
        obj=Surroundings(
            state=environment.get("FASTSERVE_STATE"),
            data=environment.get("FASTSERVE_DATA"),
            torch_backend=environment.get("UV_TORCH_BACKEND", ""),
            visible_devices=environment.get("CUDA_VISIBLE_DEVICES"),
            api_key=environment.get("FASTSERVE_API_KEY", ""),
        ),
        prog_name="fastserve",
    )


if __name__ == "__main__":
    main()
