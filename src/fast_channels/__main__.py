"""`python -m fast_channels`: the same as the command `fast-channels`."""

import sys

__all__: list[str] = []

if __name__ == "__main__":
    try:
        from fast_channels.cli import main
    except KeyboardInterrupt:  # which `main` catches from here on
        sys.stderr.write("fast-channels: interrupted\n")
        sys.exit(130)
    main()
