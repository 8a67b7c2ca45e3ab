"""``python -m pixloop``: the command line."""

from pixloop.cli.app import main

if __name__ == "__main__":
    main()
