#!/usr/bin/env python3
"""selftest.py - does the model of bench/plot play what was measured, and does bench/counts tell
whose work is whose? Speaks TAP."""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile

sys.dont_write_bytecode = True  # nothing beside the sources
from model import MIB, Model  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

# docs/decisions/0015, "now": entries in millions, passes over them, LZ4; bytes that flushes and
# merges wrote for each byte put.
WRITTEN = [
    (1, 8, False, 1.10, 0.8),
    (5, 4, False, 1.16, 2.8),
    (10, 2, False, 1.16, 4.1),
    (20, 1, False, 1.16, 4.7),
    (5, 4, True, 1.16, 1.6),
    (10, 2, True, 1.16, 2.1),
]
BIG = {"budget": 256 * MIB, "memdb": 51.2 * MIB, "segment": 12.8 * MIB, "put": 2000}
BIG_WRITTEN = 4.94  # bench/run big: 50 M entries, the log included

THREAD = """thread: 5
desc: Trigger: dump readrandom:10
events: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw
fl={root}/build/../bench/work.c
fn=work_thread
10 100 9 9 0 1
cfi=???
cfn=__memcpy_avx_unaligned_erms
calls=1 0
11 10
cfi={root}/src/engine/read.c
cfn=quern_get
calls=10 20
12 1000

fl={root}/src/engine/read.c
fn=quern_get
20 200 0 0 0 3 4 0 1 1
fi={root}/src/base/codec.h
7 50
fe={root}/src/engine/read.c
cfi=???
cfn=__memcpy_avx_unaligned_erms
calls=1 0
21 30

fl=???
fn=__memcpy_avx_unaligned_erms
0 40 0 0 0 4
"""

told = []


def tell(good, promise):
    told.append(good)
    print(f"{'' if good else 'not '}ok {len(told)} - {promise}")


def is_near(found, wanted, part):
    return abs(found - wanted) <= part * wanted


def test_model():
    for millions, passes, compressed, flush, merge in WRITTEN:
        n = millions * 1e6
        w = Model(compressed, {}, {}).writes(n, passes * n)
        what = f"overwriting {millions} M{' with LZ4' if compressed else ''}"
        tell(
            is_near(w["flush"], flush, 0.05) and is_near(w["merge"], merge, 0.2),
            f"{what}: flushes {w['flush']:.2f}, {flush} measured; "
            f"merges {w['merge']:.2f}, {merge} measured",
        )
    written = Model(True, {}, BIG).written(50e6)
    tell(is_near(written, BIG_WRITTEN, 0.15), f"50 M: {written:.2f}, {BIG_WRITTEN} measured")


def test_counts():
    loader = importlib.machinery.SourceFileLoader("counts", os.path.join(HERE, "counts"))
    counts = importlib.util.module_from_spec(importlib.util.spec_from_loader("counts", loader))
    loader.exec_module(counts)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "counts.1-05")
        with open(path, "w", encoding="utf-8") as out:
            out.write(THREAD.format(root=ROOT))
        (row,) = counts.read_rows([path])
    rooms = {name: round(cost) for name, cost in row.rooms["quern"].items()}
    tell(row.name == "readrandom" and row.ops == 10, "a row has its name and its operations")
    tell(
        [round(c) for c in row.kinds["bench"]] == [110, 2, 0]
        and [round(c) for c in row.kinds["quern"]] == [280, 10, 2],
        "what a library does is its callers', in proportion",
    )
    tell(rooms == {"engine": 230, "base": 50}, "an inlined line is of the room of its file")
    tell(
        counts.short_name("__memcpy_avx_unaligned_erms") == "memcpy"
        and counts.short_name("merge.constprop.0") == "merge"
        and counts.short_name("quern_get'2") == "quern_get",
        "functions go by the names of their sources",
    )


test_model()
test_counts()
print(f"1..{len(told)}")
sys.exit(not all(told))
