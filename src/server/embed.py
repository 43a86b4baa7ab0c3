#!/usr/bin/env python3
"""embed.py - a file as the bytes of a C array: embed.py FILE NAME"""

import sys

data = open(sys.argv[1], "rb").read()
print(f"static const unsigned char {sys.argv[2]}[{len(data)}] = {{")
for at in range(0, len(data), 20):
    print("    " + ",".join(str(b) for b in data[at:at + 20]) + ",")
print("};")
