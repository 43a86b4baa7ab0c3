#!/usr/bin/env python3
"""exports.py - the shared library exports the public functions of quern.h, and nothing else.

    exports.py LIBRARY HEADER...

Speaks TAP. Asks nm, from binutils.
"""

import re
import subprocess
import sys


def exported(library):
    """The names that a program can link against."""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def promised(headers):
    """The names that the public headers declare with QUERN_API."""
    text = "".join(open(h, encoding="utf-8").read() for h in headers)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return set(re.findall(r"QUERN_API[^;(]*?\b(quern_\w+)\s*\(", text))


def main():
    have, want = exported(sys.argv[1]), promised(sys.argv[2:])
    results = [
        ("only quern_* is exported", sorted(n for n in have if not n.startswith("quern_"))),
        ("nothing is exported that no header promises", sorted(have - want)),
        ("everything that a header promises is exported", sorted(want - have) or
         ([] if want else ["the headers promise nothing"])),
    ]
    for number, (title, offenders) in enumerate(results, 1):
        for name in offenders:
            print(f"# {name}")
        print(f"{'not ok' if offenders else 'ok'} {number} - {title}")
    print(f"1..{len(results)}")
    return any(offenders for _, offenders in results)


if __name__ == "__main__":
    sys.exit(main())
