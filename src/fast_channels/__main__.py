"""`python -m fast_channels`: the same as the command `fast-channels`."""

from fast_channels.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
