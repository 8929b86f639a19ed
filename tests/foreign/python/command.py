"""A program in Python: sorts the lines of stdin. Fails if one of them is `fail`."""

import sys

from wit_world import exports


class Run(exports.Run):
    def run(self):
        lines = sys.stdin.read().splitlines()
        if "fail" in lines:
            print("asked to fail", file=sys.stderr)
            sys.exit(3)
        for line in sorted(lines):
            print(line)
