"""`python -m bayescg`: the command line."""

from bayescg.cli import main

if __name__ == "__main__":
    main()
