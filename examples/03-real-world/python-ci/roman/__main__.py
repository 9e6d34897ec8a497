import sys

from roman import roman


def main() -> None:
    try:
        print(roman(int(sys.argv[1])))
    except (IndexError, ValueError):
        sys.exit("usage: roman NUMBER, from 1 to 3999")


if __name__ == "__main__":
    main()
